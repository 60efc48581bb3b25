// The backends of CPUs.
#include "kernels/cpu/cpu_backend.h"
#include "kernels/testing/op_suite.h"

namespace phalanx::kernels {

std::vector<BackendUnderTest> AllBackends() {
  const auto cpu = [](int threads, CpuLevel level, CpuProducts products = CpuProducts::kFloat32) {
    return [=] {
      return MakeCpuBackend({.num_threads = threads, .level = level, .products = products});
    };
  };
  const std::vector<KvDType> kv_dtypes = {KvDType::kF32, KvDType::kBF16, KvDType::kInt8};
  return {{"Reference", [] { return MakeReferenceBackend(); }},
          {"CpuPortable1Thread", cpu(1, CpuLevel::kPortable), kv_dtypes},
          {"CpuPortable2Threads", cpu(2, CpuLevel::kPortable), kv_dtypes},
          {"CpuAvx21Thread", cpu(1, CpuLevel::kAvx2), kv_dtypes},
          {"CpuAvx22Threads", cpu(2, CpuLevel::kAvx2), kv_dtypes},
          {"CpuAvx512Vnni2Threads", cpu(2, CpuLevel::kAvx512Vnni), kv_dtypes},
          {"CpuAvx2Int8", cpu(2, CpuLevel::kAvx2, CpuProducts::kInt8), kv_dtypes, true},
          {"CpuAvx2VnniInt8", cpu(2, CpuLevel::kAvx2Vnni, CpuProducts::kInt8), kv_dtypes, true},
          {"CpuAvx512VnniInt8", cpu(2, CpuLevel::kAvx512Vnni, CpuProducts::kInt8), kv_dtypes, true},
          {"CpuAmxInt8", cpu(2, CpuLevel::kAmx, CpuProducts::kInt8), kv_dtypes, true}};
}

}  // namespace phalanx::kernels
