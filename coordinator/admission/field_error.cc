#include "coordinator/admission/field_error.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace phalanx {
namespace {

// Bound on what is repeated of a caller's bytes in a message.
constexpr size_t kMaxQuotedBytes = 64;

}  // namespace

absl::Status Invalid(RefusalKind kind, absl::string_view field, absl::string_view problem) {
  return Refused(kind, absl::InvalidArgumentError(absl::StrCat(field, ": ", problem)));
}

std::string Quoted(absl::string_view text) {
  const bool cut = text.size() > kMaxQuotedBytes;
  return absl::StrCat("\"", absl::CHexEscape(text.substr(0, kMaxQuotedBytes)), cut ? "..." : "",
                      "\"");
}

absl::Status CheckPromptBytes(absl::string_view field, int64_t bytes, const RequestLimits& limits) {
  if (bytes <= limits.max_prompt_bytes) return absl::OkStatus();
  return Invalid(RefusalKind::kTooLarge, field,
                 absl::StrCat(bytes, " bytes are more than the ", limits.max_prompt_bytes,
                              " allowed (the server's --max_prompt_bytes)"));
}

}  // namespace phalanx
