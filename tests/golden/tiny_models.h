// Small random models and what transformers made of them: see README.md.
#ifndef PHALANX_TESTS_GOLDEN_TINY_MODELS_H_
#define PHALANX_TESTS_GOLDEN_TINY_MODELS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernels/ops.h"
#include "worker/model/testing/rank_group.h"
#include "worker/step/step.h"

namespace phalanx {

inline constexpr StepLimits kTinyModelLimits = {
    .max_step_tokens = 96, .max_seqs = 96, .max_blocks_per_seq = 8, .kv_blocks = 64};

// [num_tokens][vocab]
using Logits = std::vector<std::vector<float>>;

struct GoldenModel {
  // Fails the test if the files are not there.
  explicit GoldenModel(const std::string& name);

  // The Hugging Face folder.
  const std::string path;
  const bool is_bf16;
  std::vector<std::vector<int32_t>> prompts;
  // What generate gives after each prompt.
  std::vector<std::vector<int32_t>> continuations;
  // The least gap between the best two logits on the way there.
  double smallest_margin = 1e9;
  // "logits.0" and on, by prompt; for bfloat16 models "bf16_logits.0" and on too.
  std::map<std::string, Logits> logits;
};

std::vector<std::string> GoldenModelNames();

// A group of `world` ranks with the model at `path`, and keys and values in `kv_cache`. Each test
// program is linked with one definition: of CPUs in cpu_test_group.cc, of GPUs in
// cuda_test_group.cc.
RankGroup MakeTestGroup(const std::string& path, int world,
                        kernels::KvDType kv_cache = kernels::KvDType::kF32);
// What else they take for keys and values.
std::vector<kernels::KvDType> RoundedTestKvDTypes();
// How many ranks are tried at most: where GPUs are emulated, each takes its time.
int MostTestRanks();

// Logits after every token of a prompt, computed in one step.
Logits Forward(RankGroup& group, const std::vector<int32_t>& prompt);

// The largest difference at any position, relative to the largest logit there.
double LargestError(const Logits& ours, const Logits& golden);

}  // namespace phalanx

#endif  // PHALANX_TESTS_GOLDEN_TINY_MODELS_H_
