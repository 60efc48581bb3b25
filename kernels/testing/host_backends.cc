// The backends of CPUs.
#include "kernels/cpu/cpu_backend.h"
#include "kernels/testing/op_suite.h"

namespace phalanx::kernels {

std::vector<BackendUnderTest> AllBackends() {
  const auto cpu = [](int threads, CpuInstructions instructions) {
    return [=] { return MakeCpuBackend({.num_threads = threads, .instructions = instructions}); };
  };
  const std::vector<KvDType> kv_dtypes = {KvDType::kF32, KvDType::kBF16, KvDType::kInt8};
  return {{"Reference", [] { return MakeReferenceBackend(); }},
          {"CpuPortable1Thread", cpu(1, CpuInstructions::kPortable), kv_dtypes},
          {"CpuPortable2Threads", cpu(2, CpuInstructions::kPortable), kv_dtypes},
          {"CpuAvx21Thread", cpu(1, CpuInstructions::kAvx2), kv_dtypes},
          {"CpuAvx22Threads", cpu(2, CpuInstructions::kAvx2), kv_dtypes}};
}

}  // namespace phalanx::kernels
