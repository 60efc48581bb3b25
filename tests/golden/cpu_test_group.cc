// Golden models on the CPU backend with one thread.
#include "kernels/cpu/cpu_backend.h"
#include "tests/golden/tiny_models.h"

namespace phalanx {

RankGroup MakeTestGroup(const std::string& path, int world, kernels::KvDType kv_cache) {
  return RankGroup(path, world, kTinyModelLimits, [=] {
    return *kernels::MakeCpuBackend({.num_threads = 1, .kv_cache = kv_cache});
  });
}

std::vector<kernels::KvDType> RoundedTestKvDTypes() {
  return {kernels::KvDType::kBF16, kernels::KvDType::kInt8};
}

int MostTestRanks() { return 4; }

}  // namespace phalanx
