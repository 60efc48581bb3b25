#include "coordinator/text/answer/reasoning_model.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"

namespace phalanx {
namespace {

constexpr absl::string_view kTags[] = {"<think>", "</think>"};
// Parts of names, in lower case.
constexpr absl::string_view kFamilies[] = {"reasoning", "deepseek-r1", "deepseek r1", "qwq"};

bool SpeaksOfTags(absl::string_view chat_template) {
  return std::any_of(std::begin(kTags), std::end(kTags),
                     [&](absl::string_view tag) { return absl::StrContains(chat_template, tag); });
}

bool HasTagToken(const TokenizerAssets& tokenizer) {
  for (size_t id = 0; id < tokenizer.token_bytes.size(); ++id) {
    const TokenKind kind = tokenizer.token_kinds[id];
    // A normal token is only a piece of text that merges happen to make, and says nothing of the
    // model.
    if (kind != TokenKind::kControl && kind != TokenKind::kUserDefined) continue;
    if (std::count(std::begin(kTags), std::end(kTags), tokenizer.token_bytes[id]) > 0) return true;
  }
  return false;
}

bool IsOfKnownFamily(absl::string_view model_name) {
  const std::string name = absl::AsciiStrToLower(model_name);
  return std::any_of(std::begin(kFamilies), std::end(kFamilies),
                     [&](absl::string_view family) { return absl::StrContains(name, family); });
}

}  // namespace

bool IsReasoningModel(const TokenizerAssets& tokenizer, absl::Span<const std::string> names) {
  if (SpeaksOfTags(tokenizer.chat_template) || HasTagToken(tokenizer)) return true;
  for (const auto& [name, source] : tokenizer.named_chat_templates) {
    if (SpeaksOfTags(source)) return true;
  }
  return std::any_of(names.begin(), names.end(), IsOfKnownFamily);
}

}  // namespace phalanx
