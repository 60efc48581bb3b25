#include "coordinator/text/template/chat_encoder.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status.h"

namespace phalanx {
namespace {

// U+E000 and U+E001 are for private use, so that no template treats them as anything but letters of
// a text.
constexpr absl::string_view kMarkerBegin = "\xee\x80\x80";
constexpr absl::string_view kMarkerEnd = "\xee\x80\x81";

using NeedsMarker = absl::FunctionRef<bool(absl::string_view text)>;

// A rendering with markers, and the strings that the markers replace, by index.
struct MarkedText {
  std::string text;
  std::vector<std::string> strings;
};

std::vector<absl::string_view> ControlSpellings(const TokenizerAssets& assets) {
  std::vector<absl::string_view> spellings;
  for (size_t id = 0; id < assets.token_bytes.size(); ++id) {
    if (assets.token_kinds[id] != TokenKind::kControl || assets.token_bytes[id].empty()) continue;
    spellings.push_back(assets.token_bytes[id]);
  }
  return spellings;
}

// What JSON writes between the quotes. Like the template filter tojson, it leaves characters beyond
// ASCII as they are.
std::string JsonSpelling(const std::string& text) {
  const std::string quoted =
      TemplateValue(text).dump(-1, ' ', false, TemplateValue::error_handler_t::replace);
  return quoted.substr(1, quoted.size() - 2);
}

bool IsNamePart(char c) { return absl::ascii_isalnum(c) || c == '_' || c == '-'; }

// Whether template and `text` together may spell a control token that the template alone does not.
bool MayJoinControlToken(absl::string_view text,
                         const std::vector<absl::string_view>& control_spellings) {
  // Spellings such as <|end|> have other characters at their ends, so text of these characters
  // alone joins only with the spellings that the next check finds.
  if (!std::all_of(text.begin(), text.end(), IsNamePart)) return true;
  return std::any_of(control_spellings.begin(), control_spellings.end(),
                     [text](absl::string_view spelling) {
                       // A name at the end of `text` could begin a token, or end one at its
                       // beginning.
                       return absl::StrContains(spelling, text) || IsNamePart(spelling.front()) ||
                              IsNamePart(spelling.back());
                     });
}

absl::StatusOr<MarkedText> RenderMarked(const ChatTemplate& chat_template,
                                        const Conversation& conversation, const std::string& marker,
                                        bool add_generation_prompt, NeedsMarker needs_marker) {
  MarkedText marked;
  const auto mark = [&](const std::string& /*field*/, const std::string& text) {
    if (!needs_marker(text)) return text;
    marked.strings.push_back(text);
    return absl::StrCat(kMarkerBegin, marker, marked.strings.size() - 1, kMarkerEnd);
  };
  ASSIGN_OR_RETURN(marked.text, chat_template.Render(conversation, add_generation_prompt, mark));
  return marked;
}

// Returns the index that stands behind the beginning of a marker, and takes it and the end of the
// marker off `text`. Nothing if there is no whole marker.
std::optional<size_t> TakeIndex(absl::string_view* text, size_t num_strings) {
  size_t index = 0;
  while (!text->empty() && absl::ascii_isdigit(text->front())) {
    index = 10 * index + static_cast<size_t>(text->front() - '0');
    text->remove_prefix(1);
    // Checked for each digit, so that a long number cannot overflow.
    if (index >= num_strings) return std::nullopt;
  }
  if (!absl::StartsWith(*text, kMarkerEnd)) return std::nullopt;
  text->remove_prefix(kMarkerEnd.size());
  return index;
}

// Where the strings are in `text`, or nothing if `marked` with its markers replaced is not `text`.
std::optional<std::vector<TextSpan>> FindStrings(absl::string_view text, const MarkedText& marked,
                                                 const std::string& marker) {
  const std::string begin = absl::StrCat(kMarkerBegin, marker);
  absl::string_view rest = marked.text;
  std::vector<TextSpan> spans;
  size_t at = 0;
  while (true) {
    const size_t next = rest.find(begin);
    const absl::string_view before = rest.substr(0, next);
    // `at` is never beyond the end of `text`, as it moves only over what was found to be there.
    if (text.substr(at, before.size()) != before) return std::nullopt;
    at += before.size();
    if (next == absl::string_view::npos) break;
    rest.remove_prefix(next + begin.size());
    const std::optional<size_t> index = TakeIndex(&rest, marked.strings.size());
    if (!index) return std::nullopt;
    const std::string& as_it_is = marked.strings[*index];
    // The longer spelling is tried first, since the other one can be its beginning.
    const std::string as_json = JsonSpelling(as_it_is);
    const bool is_json = absl::StartsWith(text.substr(at), as_json);
    const std::string& spelling = is_json ? as_json : as_it_is;
    if (!absl::StartsWith(text.substr(at), spelling)) return std::nullopt;
    spans.push_back({at, at + spelling.size()});
    at += spelling.size();
  }
  if (at != text.size()) return std::nullopt;
  return spans;
}

// An error if a string of the caller spells a control token.
absl::Status RefuseControlTokens(const ChatTemplate& chat_template,
                                 const Conversation& conversation,
                                 const std::vector<absl::string_view>& control_spellings) {
  absl::Status status;
  const auto check = [&](const std::string& field, const std::string& text) {
    for (const absl::string_view spelling : control_spellings) {
      if (!status.ok() || !absl::StrContains(text, spelling)) continue;
      status = absl::InvalidArgumentError(
          absl::StrCat(field, ": spells the control token ", spelling,
                       ", which this model's template cannot keep apart from its own"));
    }
    return text;
  };
  // Rendering visits every string with the name of its field. The text is not used.
  RETURN_IF_ERROR(chat_template.Render(conversation, true, check).status());
  return status;
}

}  // namespace

absl::StatusOr<EncodedText> EncodeChat(const Tokenizer& tokenizer,
                                       const ChatTemplate& chat_template,
                                       const Conversation& conversation, const std::string& marker,
                                       bool add_generation_prompt,
                                       const std::atomic<bool>* cancelled, bool with_spans) {
  ASSIGN_OR_RETURN(std::string text, chat_template.Render(conversation, add_generation_prompt));
  const auto find_strings = [&](NeedsMarker needs_marker) -> std::optional<std::vector<TextSpan>> {
    const absl::StatusOr<MarkedText> marked =
        RenderMarked(chat_template, conversation, marker, add_generation_prompt, needs_marker);
    // A template that accepts the strings but not the markers looks into strings.
    if (!marked.ok()) return std::nullopt;
    return FindStrings(text, *marked, marker);
  };
  std::optional<std::vector<TextSpan>> strings =
      find_strings([](absl::string_view) { return true; });
  if (!strings) {
    const std::vector<absl::string_view> control_spellings = ControlSpellings(tokenizer.assets());
    strings = find_strings(
        [&](absl::string_view part) { return MayJoinControlToken(part, control_spellings); });
    if (!strings) {
      RETURN_IF_ERROR(RefuseControlTokens(chat_template, conversation, control_spellings));
      // No string spells a control token, so all that the text spells are taken for the template's.
      strings.emplace();
    }
  }
  std::vector<TextSpan> spans;
  ASSIGN_OR_RETURN(
      std::vector<int32_t> token_ids,
      tokenizer.EncodeRendered(text, *strings, cancelled, with_spans ? &spans : nullptr));
  return EncodedText{std::move(token_ids), std::move(text), std::move(spans)};
}

}  // namespace phalanx
