#include "coordinator/text/chat_encoder.h"

#include <cstddef>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status.h"

namespace phalanx {
namespace {

// U+E000 and U+E001, for private use: no template treats them as anything but letters of a text.
constexpr absl::string_view kMarkerBegin = "\xee\x80\x80";
constexpr absl::string_view kMarkerEnd = "\xee\x80\x81";

std::vector<ChatMessage> WithMarkers(absl::Span<const ChatMessage> messages,
                                     const std::string& marker) {
  std::vector<ChatMessage> marked(messages.begin(), messages.end());
  for (size_t i = 0; i < marked.size(); ++i) {
    marked[i].content = absl::StrCat(kMarkerBegin, marker, i, kMarkerEnd);
  }
  return marked;
}

// Where the contents are in `text`, or nothing if `marked` with its markers replaced is not `text`.
std::optional<std::vector<TextSpan>> FindContents(absl::string_view text, absl::string_view marked,
                                                  absl::Span<const ChatMessage> messages,
                                                  const std::string& marker) {
  const std::string begin = absl::StrCat(kMarkerBegin, marker);
  std::vector<TextSpan> spans;
  size_t at = 0;
  while (true) {
    const size_t next = marked.find(begin);
    const absl::string_view before = marked.substr(0, next);
    if (text.substr(at, before.size()) != before) return std::nullopt;
    at += before.size();
    if (next == absl::string_view::npos) break;
    marked.remove_prefix(next + begin.size());
    size_t index = 0;
    while (!marked.empty() && marked[0] >= '0' && marked[0] <= '9') {
      index = 10 * index + static_cast<size_t>(marked[0] - '0');
      marked.remove_prefix(1);
      if (index >= messages.size()) return std::nullopt;
    }
    if (!absl::StartsWith(marked, kMarkerEnd)) return std::nullopt;
    marked.remove_prefix(kMarkerEnd.size());
    const std::string& content = messages[index].content;
    if (text.substr(at, content.size()) != content) return std::nullopt;
    spans.push_back({at, at + content.size()});
    at += content.size();
  }
  if (at != text.size()) return std::nullopt;
  return spans;
}

absl::Status RefuseControlTokens(const TokenizerAssets& assets,
                                 absl::Span<const ChatMessage> messages) {
  for (size_t id = 0; id < assets.token_bytes.size(); ++id) {
    if (assets.token_kinds[id] != TokenKind::kControl || assets.token_bytes[id].empty()) continue;
    for (size_t i = 0; i < messages.size(); ++i) {
      if (!absl::StrContains(messages[i].content, assets.token_bytes[id])) continue;
      return absl::InvalidArgumentError(absl::StrCat(
          "chat.messages[", i, "].content: spells the control token ", assets.token_bytes[id],
          ", which this model's template cannot keep apart from its own"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<EncodedText> EncodeChat(const Tokenizer& tokenizer,
                                       const ChatTemplate& chat_template,
                                       absl::Span<const ChatMessage> messages,
                                       const std::string& marker, bool add_generation_prompt) {
  ASSIGN_OR_RETURN(std::string text, chat_template.Render(messages, add_generation_prompt));
  const absl::StatusOr<std::string> marked =
      chat_template.Render(WithMarkers(messages, marker), add_generation_prompt);
  std::optional<std::vector<TextSpan>> contents;
  if (marked.ok()) contents = FindContents(text, *marked, messages, marker);
  if (!contents) {
    RETURN_IF_ERROR(RefuseControlTokens(tokenizer.assets(), messages));
    contents.emplace();
  }
  ASSIGN_OR_RETURN(std::vector<int32_t> token_ids, tokenizer.EncodeRendered(text, *contents));
  return EncodedText{std::move(token_ids), std::move(text)};
}

}  // namespace phalanx
