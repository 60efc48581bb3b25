// Takes tool calls out of the text of an answer while it comes.
#ifndef PHALANX_COORDINATOR_TEXT_ANSWER_TOOL_CALL_PARSER_H_
#define PHALANX_COORDINATOR_TEXT_ANSWER_TOOL_CALL_PARSER_H_

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"
#include "coordinator/text/answer/json_scanner.h"
#include "coordinator/text/answer/tool_call_format.h"

namespace phalanx {

// All text of an answer is either text that is given on, or belongs to a call: its name, its
// arguments, and the marks and the JSON around them. The rules are the same however the text is cut
// into pieces:
//
// A call begins with one of the marks of its format (see tool_call_format.h), or in Llama 3's also
// with "{" as the first thing of the answer or after another call. It is a call once its name is
// known and the object of its arguments begins, or once it has ended without arguments. What turns
// out to be no call before that, because something else stands there, is text as it was written,
// marks included. Without a mark, a call must also have arguments and name one of the tools.
//
// From there on it is a call, and its arguments are given on as they are written. If they stop
// being JSON, the call is broken, and the byte at which they did so is text again, like what
// follows.
//
// White space between calls, and between the last one and the end of the answer, is dropped.
//
// Thread-compatible. Takes time in proportion to the text.
class ToolCallParser {
 public:
  // How deep arguments may be nested, which is what the API takes back.
  static constexpr size_t kMaxDepth = 64;

  enum class End {
    kWhole,   // The arguments are a JSON object.
    kBroken,  // They are not, see `problem`.
  };

  // What has become known of a call. The first piece of a call has its name, the last one its end.
  struct Piece {
    // 0 for the first call of the answer, one more for each that follows.
    int index = 0;
    std::string name = {};
    // The next part of the text of its arguments.
    std::string arguments = {};
    std::optional<End> end = std::nullopt;
    std::string problem = {};
  };

  struct Output {
    std::string text = {};
    std::vector<Piece> calls = {};
  };

  ToolCallParser(ToolCallFormat format, absl::flat_hash_set<std::string> tools)
      : format_(format),
        tools_(std::move(tools)),
        at_beginning_(format == ToolCallFormat::kLlama3) {}

  // Returns what has become certain.
  Output Push(absl::string_view text);
  // To be called at the end of the answer. Returns what was held back.
  Output Finish();

  // How many calls there have been.
  int calls() const { return calls_; }

 private:
  enum class State {
    kText,
    kHead,       // Up to the arguments.
    kArguments,  //
    kTail,       // From the arguments to the end of the call's object.
    kAfter,      // Behind that: another call of the same list, or a closing mark.
  };

  // Each returns whether the rest of held_ can be worked on, else more is needed.
  bool Advance(Output* output);
  bool AdvanceText(Output* output);
  bool AdvanceHead(Output* output);
  bool AdvanceArguments(Output* output);
  bool AdvanceTail();
  bool AdvanceAfter();

  bool OpenHead(size_t give_back, size_t head);
  bool RefuseHead(Output* output);
  void BackToText(bool after_call);
  void EndCall(End end, absl::string_view problem, Output* output);
  // The piece of the latest call that goes into `output`.
  Piece& CallPiece(Output* output);
  // Moves bytes from the front of held_ to the text.
  void GiveText(size_t bytes, Output* output);
  void Drop(size_t bytes);
  // How many bytes of white space held_ begins with.
  size_t LeadingSpace();

  const ToolCallFormat format_;
  const absl::flat_hash_set<std::string> tools_;
  State state_ = State::kText;
  std::string held_;
  size_t leading_space_ = 0;
  // In kText: nothing but white space has come yet, or since the last call.
  bool at_beginning_;
  bool after_call_ = false;
  // In kHead: how much of held_ is text if this is no call, and where in it the call begins.
  size_t give_back_ = 0;
  size_t head_ = 0;
  // Whether the call began without a mark; whether a list must begin there, and whether one has.
  bool bare_ = false;
  bool needs_list_ = false;
  bool in_list_ = false;
  std::optional<JsonScanner> arguments_;
  int calls_ = 0;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_ANSWER_TOOL_CALL_PARSER_H_
