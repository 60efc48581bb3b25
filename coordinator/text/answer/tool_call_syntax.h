// The JSON around the name and the arguments of a tool call, as far as it has come.
#ifndef PHALANX_COORDINATOR_TEXT_ANSWER_TOOL_CALL_SYNTAX_H_
#define PHALANX_COORDINATOR_TEXT_ANSWER_TOOL_CALL_SYNTAX_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace phalanx {

// What is known of a piece of syntax whose beginning is there.
enum class SyntaxState {
  kMore,   // It may become one.
  kWhole,  // It is one.
  kNone,   // It is none, whatever follows.
};

// The beginning of an object that is a call: white space, "{", members "name", and perhaps "type"
// and "id", which are strings; then the key "arguments" or "parameters" and the "{" of its value.
struct CallHead {
  SyntaxState state = SyntaxState::kMore;
  // If the state is kWhole: the function's name, 1 to 64 letters, digits, "_", "-" and ".".
  std::string name = {};
  // Where the value of the arguments begins.
  size_t arguments = 0;
  // The object has ended without arguments, as large as this. Then `arguments` is no place.
  size_t end_without_arguments = 0;
};
// If a head is not whole after this many bytes, it is none. So no more than these are ever read
// twice.
inline constexpr size_t kMaxHeadBytes = 512;
CallHead ReadCallHead(absl::string_view text);

// What follows the arguments of a call: perhaps members "type" and "id", then "}".
struct CallTail {
  SyntaxState state = SyntaxState::kMore;
  // Of a whole tail.
  size_t bytes = 0;
};
CallTail ReadCallTail(absl::string_view text);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_ANSWER_TOOL_CALL_SYNTAX_H_
