// What the tests of the decoder share.
#ifndef PHALANX_WORKER_MODEL_TESTING_DECODER_FIXTURE_H_
#define PHALANX_WORKER_MODEL_TESTING_DECODER_FIXTURE_H_

#include <cstdint>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "model/testing/tiny_model.h"
#include "worker/step/step.h"
#include "worker/step/testing/step_builder.h"

namespace phalanx {

inline constexpr StepLimits kLimits = {
    .max_step_tokens = 64, .max_seqs = 4, .max_blocks_per_seq = 6, .kv_blocks = 24};

inline std::unique_ptr<kernels::Backend> Cpu() {
  return *kernels::MakeCpuBackend({.num_threads = 1});
}

inline std::vector<int32_t> RandomTokens(int count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % kTinyVocab);
  return tokens;
}

// Sequence `index` of up to kLimits.max_seqs, in blocks of its own that are not neighbours.
inline TestSequence Sequence(int index, std::vector<int32_t> tokens) {
  TestSequence sequence;
  sequence.tokens = std::move(tokens);
  sequence.slot = index;
  for (int i = kLimits.max_blocks_per_seq - 1; i >= 0; --i) {
    sequence.blocks.push_back(1 + i * kLimits.max_seqs + index);
  }
  return sequence;
}

}  // namespace phalanx

#endif  // PHALANX_WORKER_MODEL_TESTING_DECODER_FIXTURE_H_
