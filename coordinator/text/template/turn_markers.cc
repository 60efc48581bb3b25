#include "coordinator/text/template/turn_markers.h"

#include <algorithm>
#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/string_view.h"
#include "coordinator/text/template/conversation.h"
#include "coordinator/text/tokenizer/added_token_matcher.h"
#include "model/text/turn_ends.h"

namespace phalanx {
namespace {

constexpr absl::string_view kReasoningTags[] = {"<think>", "</think>"};

bool IsSpelledLikeAMarker(absl::string_view spelling) {
  if (spelling.size() < 3) return false;
  const bool bracketed = (spelling.front() == '<' && spelling.back() == '>') ||
                         (spelling.front() == '[' && spelling.back() == ']');
  return bracketed && std::none_of(spelling.begin(), spelling.end(), absl::ascii_isspace) &&
         std::find(std::begin(kReasoningTags), std::end(kReasoningTags), spelling) ==
             std::end(kReasoningTags);
}

std::vector<int32_t> Candidates(const TokenizerAssets& assets) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i < assets.token_kinds.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    const TokenKind kind = assets.token_kinds[i];
    if (kind != TokenKind::kNormal && kind != TokenKind::kUserDefined) continue;
    if (!IsSpelledLikeAMarker(assets.token_bytes[i]) || IsOrdinaryText(assets, id)) continue;
    ids.push_back(id);
  }
  return ids;
}

// Conversations of which a template takes at least one, whatever roles and turns it demands. The
// contents are single letters, so that all markers in the text are the template's.
std::vector<Conversation> PlainConversations() {
  const ChatMessage system = {.role = "system", .content = "a"};
  const ChatMessage user = {.role = "user", .content = "b"};
  const ChatMessage assistant = {.role = "assistant", .content = "c"};
  return {{.messages = {user}},
          {.messages = {user, assistant, user}},
          {.messages = {system, user, assistant, user}}};
}

}  // namespace

std::vector<int32_t> FindTurnMarkers(const TokenizerAssets& assets,
                                     const ChatTemplate& chat_template) {
  const std::vector<int32_t> candidates = Candidates(assets);
  if (candidates.empty()) return {};
  // Looks at the rendered text instead of the source, because templates put markers together from
  // parts.
  const AddedTokenMatcher matcher(&assets, candidates);
  std::set<int32_t> found;
  for (const Conversation& conversation : PlainConversations()) {
    for (const bool add_generation_prompt : {true, false}) {
      const absl::StatusOr<std::string> text =
          chat_template.Render(conversation, add_generation_prompt);
      // A template may refuse some of the conversations.
      if (!text.ok()) continue;
      for (const AddedTokenMatcher::Match& match : matcher.FindAll(*text, {})) {
        found.insert(match.id);
      }
    }
  }
  return {found.begin(), found.end()};
}

}  // namespace phalanx
