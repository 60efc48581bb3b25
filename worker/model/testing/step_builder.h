// Puts sequences together to steps, as the engine's scheduler does.
#ifndef PHALANX_WORKER_MODEL_TESTING_STEP_BUILDER_H_
#define PHALANX_WORKER_MODEL_TESTING_STEP_BUILDER_H_

#include <cstdint>
#include <vector>

#include "worker/model/step_input.h"

namespace phalanx {

struct TestSequence {
  std::vector<int32_t> tokens;  // The prompt and what was drawn.
  int cached_tokens = 0;        // Of them, those whose keys and values are in the cache.
  std::vector<int32_t> blocks;  // Enough for all tokens that will be.

  int pending_tokens() const { return static_cast<int>(tokens.size()) - cached_tokens; }
};

class StepBuilder {
 public:
  // Adds the next `count` pending tokens, and takes them as cached. Logits of the last of them are
  // wanted if no others are pending.
  void Add(TestSequence& sequence, int count, const kernels::SamplingRow& sampling = {});
  // The step; the builder is empty again.
  StepInput Finish();

 private:
  StepInput input_;
  std::vector<std::vector<int32_t>> tables_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_MODEL_TESTING_STEP_BUILDER_H_
