#include "coordinator/text/answer/detokenizer.h"

#include <algorithm>
#include <vector>

#include "absl/strings/string_view.h"
#include "coordinator/text/tokenizer/unicode.h"

namespace phalanx {
namespace {

constexpr absl::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD

}  // namespace

std::string Detokenizer::Push(absl::Span<const int32_t> token_ids) {
  for (const int32_t id : token_ids) {
    if (id < 0 || static_cast<size_t>(id) >= assets_->token_bytes.size()) continue;
    if (IsHidden(id)) continue;
    pending_ += assets_->token_bytes[id];
  }
  std::string text;
  absl::string_view left = pending_;
  while (!left.empty()) {
    // An ill-formed part is replaced as a whole: FirstUtf8 gives its length. An incomplete
    // character can only be the last thing in `left`.
    const Utf8Prefix next = FirstUtf8(left);
    if (next.incomplete) break;
    const absl::string_view bytes = next.valid ? left.substr(0, next.bytes) : kReplacement;
    text.append(bytes.data(), bytes.size());
    left.remove_prefix(next.bytes);
  }
  pending_ = std::string(left);
  return text;
}

bool Detokenizer::IsHidden(int32_t id) const {
  const TokenKind kind = assets_->token_kinds[id];
  if (kind == TokenKind::kUnused) return true;
  if (control_tokens_ == ControlTokens::kSpell) return false;
  // Some files give an end of turn the kind of an ordinary or added token, so kinds alone do not
  // tell what to hide.
  const std::vector<int32_t>& ends = assets_->eos_token_ids;
  if (std::binary_search(ends.begin(), ends.end(), id)) return true;
  return kind == TokenKind::kControl && !std::binary_search(spelled_.begin(), spelled_.end(), id);
}

std::string Detokenizer::Flush() {
  // What is pending is the beginning of one character, so it is one ill-formed part.
  const bool held_back = !pending_.empty();
  pending_.clear();
  return held_back ? std::string(kReplacement) : std::string();
}

}  // namespace phalanx
