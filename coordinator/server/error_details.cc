#include "coordinator/server/error_details.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/retry_after.h"
#include "coordinator/admission/refusal.h"
#include "coordinator/server/request_id.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace phalanx {
namespace {

constexpr size_t kMaxMessageBytes = 1024;
constexpr absl::string_view kSeparator = ": ";

// Cuts at the beginning of a character.
std::string Shortened(absl::string_view message) {
  if (message.size() <= kMaxMessageBytes) return std::string(message);
  size_t end = kMaxMessageBytes;
  while (end > 0 && (static_cast<unsigned char>(message[end]) & 0xc0) == 0x80) --end;
  return absl::StrCat(message.substr(0, end), "...");
}

bool IsPathPart(char c) {
  return absl::ascii_isalnum(c) || c == '_' || c == '.' || c == '-' || c == '[' || c == ']';
}

void AddRetryInfo(absl::Duration delay, google::rpc::Status* details) {
  google::rpc::RetryInfo retry;
  const int64_t nanoseconds = absl::ToInt64Nanoseconds(delay);
  retry.mutable_retry_delay()->set_seconds(nanoseconds / 1'000'000'000);
  retry.mutable_retry_delay()->set_nanos(static_cast<int32_t>(nanoseconds % 1'000'000'000));
  details->add_details()->PackFrom(retry);
}

void AddBadRequest(absl::string_view field, absl::string_view message,
                   google::rpc::Status* details) {
  google::rpc::BadRequest bad;
  auto& violation = *bad.add_field_violations();
  violation.set_field(std::string(field));
  violation.set_description(std::string(message.substr(field.size() + kSeparator.size())));
  details->add_details()->PackFrom(bad);
}

}  // namespace

std::string ErrorReason(const absl::Status& status) {
  if (const std::optional<RefusalKind> kind = KindOfRefusal(status)) {
    return absl::AsciiStrToUpper(RefusalKindName(*kind));
  }
  if (absl::IsUnavailable(status)) return "INTERRUPTED";
  return absl::StatusCodeToString(status.code());
}

absl::string_view FieldOf(const absl::Status& status) {
  if (!absl::IsInvalidArgument(status) && !absl::IsNotFound(status)) return "";
  const absl::string_view message = status.message();
  const size_t end = message.find(kSeparator);
  if (end == absl::string_view::npos) return "";
  const absl::string_view path = message.substr(0, end);
  // "request" is how errors about the message as a whole begin.
  const bool is_path = std::all_of(path.begin(), path.end(), IsPathPart) && path != "request";
  return is_path ? path : "";
}

std::optional<absl::Duration> RetryDelay(const absl::Status& status) {
  if (const std::optional<absl::Duration> noted = RetryAfterOf(status)) {
    // Up to a quarter more.
    return *noted + *noted * (static_cast<double>(RandomBits64() % 1000) / 4000);
  }
  // A request that is too large stays so.
  if (!absl::IsResourceExhausted(status) || KindOfRefusal(status) == RefusalKind::kTooLarge) {
    return std::nullopt;
  }
  return absl::Milliseconds(500 + static_cast<int64_t>(RandomBits64() % 1000));
}

grpc::Status StatusForClient(const absl::Status& status, const std::string& request_id,
                             const std::string& model, grpc::CallbackServerContext* context,
                             std::optional<int> tokens_sent) {
  context->AddTrailingMetadata(kRequestIdMetadata, request_id);
  const std::string message = Shortened(status.message());
  google::rpc::Status details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(message);
  google::rpc::ErrorInfo info;
  info.set_reason(ErrorReason(status));
  info.set_domain(kErrorDomain);
  (*info.mutable_metadata())["model"] = model;
  if (tokens_sent.has_value()) {
    (*info.mutable_metadata())["tokens_sent"] = absl::StrCat(*tokens_sent);
  }
  details.add_details()->PackFrom(info);
  google::rpc::RequestInfo request;
  request.set_request_id(request_id);
  details.add_details()->PackFrom(request);
  if (const absl::string_view field = FieldOf(status); !field.empty()) {
    AddBadRequest(field, message, &details);
  }
  if (const std::optional<absl::Duration> delay = RetryDelay(status)) {
    AddRetryInfo(*delay, &details);
    context->AddTrailingMetadata("grpc-retry-pushback-ms",
                                 absl::StrCat(absl::ToInt64Milliseconds(*delay)));
  }
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), message,
                      details.SerializeAsString());
}

}  // namespace phalanx
