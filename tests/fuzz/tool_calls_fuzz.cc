// The text of an answer, searched for tool calls: whole, and cut into pieces as the input says. The
// first byte chooses the format, the second the pieces; the rest is the text.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "base/log.h"
#include "coordinator/text/answer/tool_call_parser.h"
#include "nlohmann/json.hpp"

namespace phalanx {
namespace {

constexpr ToolCallFormat kFormats[] = {ToolCallFormat::kHermes, ToolCallFormat::kLlama3,
                                       ToolCallFormat::kPhi4Mini};

struct Call {
  std::string name = {};
  std::string arguments = {};
  bool ended = false;
  bool whole = false;

  friend bool operator==(const Call&, const Call&) = default;
};

struct Answer {
  std::string text;
  std::vector<Call> calls;

  void Add(const ToolCallParser::Output& output) {
    text += output.text;
    for (const ToolCallParser::Piece& piece : output.calls) {
      if (!piece.name.empty()) calls.push_back({.name = piece.name});
      CHECK(piece.index + 1 == static_cast<int>(calls.size())) << "news of another call";
      Call& call = calls.back();
      CHECK(!call.ended) << "news of a call that has ended";
      call.arguments += piece.arguments;
      call.ended = piece.end.has_value();
      call.whole = piece.end == ToolCallParser::End::kWhole;
    }
  }
};

Answer Parse(ToolCallFormat format, absl::string_view text, size_t piece_bytes) {
  ToolCallParser parser(format, {"f", "now"});
  Answer answer;
  while (!text.empty()) {
    const size_t bytes = std::min(text.size(), piece_bytes);
    answer.Add(parser.Push(text.substr(0, bytes)));
    text.remove_prefix(bytes);
  }
  answer.Add(parser.Finish());
  CHECK(parser.calls() == static_cast<int>(answer.calls.size()));
  return answer;
}

// What the parser gives on is a part of the input, in order.
void CheckIsLeftOf(const Answer& answer, absl::string_view input) {
  size_t at = 0;
  for (const char byte : answer.text) {
    at = input.find(byte, at);
    CHECK(at != absl::string_view::npos) << "the text has what the input has not";
    ++at;
  }
  CHECK(!answer.calls.empty() || answer.text == input) << "without calls, all is text";
  for (const Call& call : answer.calls) {
    CHECK(call.ended && !call.name.empty());
    if (!call.whole) continue;
    // Beyond its grammar, the library asks for UTF-8, pairs of surrogates and doubles.
    const auto json = nlohmann::json::parse(call.arguments, nullptr, /*allow_exceptions=*/false);
    CHECK(json.is_object() || json.is_discarded()) << "a whole call has an object";
    CHECK(call.arguments.front() == '{' && call.arguments.back() == '}');
  }
}

}  // namespace
}  // namespace phalanx

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace phalanx;  // NOLINT(google-build-using-namespace)
  if (size < 2) return 0;
  const ToolCallFormat format = kFormats[data[0] % 3];
  const absl::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
  const Answer whole = Parse(format, text, text.size());
  CheckIsLeftOf(whole, text);
  const Answer pieces = Parse(format, text, 1 + data[1] % 16);
  CHECK(pieces.text == whole.text && pieces.calls == whole.calls) << "pieces make a difference";
  return 0;
}
