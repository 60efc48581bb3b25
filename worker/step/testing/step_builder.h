// Puts sequences together to steps, as the engine's scheduler does.
#ifndef PHALANX_WORKER_STEP_TESTING_STEP_BUILDER_H_
#define PHALANX_WORKER_STEP_TESTING_STEP_BUILDER_H_

#include <cstdint>
#include <vector>

#include "worker/step/step.h"

namespace phalanx {

struct TestSequence {
  std::vector<int32_t> tokens = {};  // The prompt and what was drawn.
  int cached_tokens = 0;             // Of them, those whose keys and values are in the cache.
  std::vector<int32_t> blocks = {};  // Enough for all tokens that will be.
  int slot = 0;
  int rope_list = 0;
  int blocks_told = 0;  // How many of `blocks` earlier steps have put into the block table.

  int pending_tokens() const { return static_cast<int>(tokens.size()) - cached_tokens; }
};

class StepBuilder {
 public:
  // Adds the next `count` pending tokens, and takes them as cached. Logits of the last of them are
  // wanted if no others are pending.
  void Add(TestSequence& sequence, int count, const kernels::SamplingRow& sampling = {});
  // Asks for the logits of every token of the sequence that was added last.
  void WantAllLogits();
  // Changes the logits of the row that was wanted last. An empty mask is none.
  void Adjust(const std::vector<kernels::LogitEdit>& edits, const std::vector<uint32_t>& mask);
  // Asks how likely `target` is after token `row` of the step.
  void Score(int32_t row, int32_t target);
  // The step; the builder is empty again.
  Step Finish();

 private:
  template <typename T>
  using Vector = std::vector<T>;
  using ForwardArrays = kernels::StepList::Arrays<Vector>;
  using SamplingArrays = kernels::SamplingList::Arrays<Vector>;

  ForwardArrays forward_;
  SamplingArrays sampling_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_STEP_TESTING_STEP_BUILDER_H_
