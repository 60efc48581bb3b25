#include "coordinator/text/answer/tool_call_syntax.h"

#include <algorithm>
#include <optional>

#include "absl/strings/ascii.h"
#include "nlohmann/json.hpp"

namespace phalanx {
namespace {

constexpr size_t kMaxNameBytes = 64;

bool IsSpace(char byte) { return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r'; }

// Reads from the front. Once it has come to the end of the text, or to what must not be there,
// `state` tells so, and everything else it returns means nothing.
struct Reader {
  absl::string_view text;
  size_t at = 0;
  SyntaxState state = SyntaxState::kWhole;

  bool ok() const { return state == SyntaxState::kWhole; }

  // The next byte that is not white space, which is not taken.
  char Peek() {
    while (at < text.size() && IsSpace(text[at])) ++at;
    if (at < text.size()) return text[at];
    state = SyntaxState::kMore;
    return '\0';
  }

  void Expect(char byte) {
    if (Peek() == byte) {
      ++at;
    } else if (ok()) {
      state = SyntaxState::kNone;
    }
  }

  std::string String() {
    const char first = Peek();
    if (!ok()) return "";
    if (first != '"') {
      state = SyntaxState::kNone;
      return "";
    }
    const size_t begin = at++;
    for (; at < text.size(); ++at) {
      if (text[at] == '\\') {
        ++at;
      } else if (text[at] == '"') {
        ++at;
        return Unescaped(text.substr(begin, at - begin));
      } else if (static_cast<unsigned char>(text[at]) < ' ') {
        state = SyntaxState::kNone;
        return "";
      }
    }
    state = SyntaxState::kMore;
    return "";
  }

  std::string Unescaped(absl::string_view quoted) {
    const auto json = nlohmann::json::parse(quoted.begin(), quoted.end(), nullptr,
                                            /*allow_exceptions=*/false);
    if (json.is_string()) return json.get<std::string>();
    state = SyntaxState::kNone;
    return "";
  }
};

bool IsName(const std::string& name) {
  return !name.empty() && name.size() <= kMaxNameBytes &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return absl::ascii_isalnum(c) || c == '_' || c == '-' || c == '.';
         });
}

CallHead HeadOf(Reader reader) {
  std::optional<std::string> name;
  reader.Expect('{');
  while (reader.ok()) {
    const std::string key = reader.String();
    reader.Expect(':');
    const char value = reader.Peek();
    if (!reader.ok()) break;
    if ((key == "arguments" || key == "parameters") && name.has_value() && value == '{') {
      return {.state = SyntaxState::kWhole, .name = *name, .arguments = reader.at};
    }
    if (key != "name" && key != "type" && key != "id") return {.state = SyntaxState::kNone};
    const std::string text = reader.String();
    if (!reader.ok()) break;
    if (key == "name") {
      if (name.has_value() || !IsName(text)) return {.state = SyntaxState::kNone};
      name = text;
    }
    if (reader.Peek() == '}' && name.has_value()) {
      return {.state = SyntaxState::kWhole, .name = *name, .end_without_arguments = reader.at + 1};
    }
    reader.Expect(',');
  }
  return {.state = reader.state};
}

}  // namespace

CallHead ReadCallHead(absl::string_view text) {
  CallHead head = HeadOf({text.substr(0, kMaxHeadBytes)});
  if (head.state == SyntaxState::kMore && text.size() >= kMaxHeadBytes) {
    head.state = SyntaxState::kNone;
  }
  return head;
}

CallTail ReadCallTail(absl::string_view text) {
  Reader reader{text.substr(0, kMaxHeadBytes)};
  while (reader.Peek() == ',') {
    ++reader.at;
    const std::string key = reader.String();
    if (reader.ok() && key != "type" && key != "id") reader.state = SyntaxState::kNone;
    reader.Expect(':');
    reader.String();
    if (!reader.ok()) break;
  }
  if (reader.ok()) reader.Expect('}');
  if (reader.state == SyntaxState::kMore && text.size() >= kMaxHeadBytes) {
    reader.state = SyntaxState::kNone;
  }
  return {.state = reader.state, .bytes = reader.at};
}

}  // namespace phalanx
