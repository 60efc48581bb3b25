// Watches for a think block at the beginning of an answer.
#ifndef PHALANX_WORKER_CONSTRAINT_THINK_WATCH_H_
#define PHALANX_WORKER_CONSTRAINT_THINK_WATCH_H_

#include <string>

#include "absl/strings/string_view.h"

namespace phalanx {

// A block begins with "<think>", with nothing but white space before it, and ends with "</think>".
// The tags are looked for in the text of the answer, so it does not matter which tokens they are
// written with. The coordinator splits the answer by the same rules: see
// coordinator/text/answer/reasoning_splitter.h. Thread-compatible.
class ThinkWatch {
 public:
  enum class State {
    kBeginning,  // Nothing but white space or a part of "<think>" has come.
    kThinking,
    kAnswer,
  };

  // `state` is kThinking if the prompt has opened the block.
  explicit ThinkWatch(State state) : state_(state) {}

  // The answer goes on with `text`.
  void Accept(absl::string_view text);

  State state() const { return state_; }

 private:
  State state_;
  // The end of the text, which may be a part of the tag that is looked for.
  std::string tail_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_CONSTRAINT_THINK_WATCH_H_
