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
  const auto int8 = [&](CpuLevel level) { return cpu(2, level, CpuProducts::kInt8); };
  const auto bf16 = [&](CpuLevel level) { return cpu(2, level, CpuProducts::kBFloat16); };
  const std::vector<KvDType> kv_dtypes = {KvDType::kF32, KvDType::kBF16, KvDType::kInt8};
  return {{"Reference", [] { return MakeReferenceBackend(); }},
          {"CpuPortable1Thread", cpu(1, CpuLevel::kPortable), kv_dtypes},
          {"CpuPortable2Threads", cpu(2, CpuLevel::kPortable), kv_dtypes},
          {"CpuAvx21Thread", cpu(1, CpuLevel::kAvx2), kv_dtypes},
          {"CpuAvx22Threads", cpu(2, CpuLevel::kAvx2), kv_dtypes},
          {"CpuAvx512Vnni2Threads", cpu(2, CpuLevel::kAvx512Vnni), kv_dtypes},
          {"CpuAvx2Int8", int8(CpuLevel::kAvx2), kv_dtypes, ProductRounding::kInt8},
          {"CpuAvx2VnniInt8", int8(CpuLevel::kAvx2Vnni), kv_dtypes, ProductRounding::kInt8},
          {"CpuAvx512VnniInt8", int8(CpuLevel::kAvx512Vnni), kv_dtypes, ProductRounding::kInt8},
          {"CpuAmxInt8", int8(CpuLevel::kAmx), kv_dtypes, ProductRounding::kInt8},
          {"CpuPortableBf16", bf16(CpuLevel::kPortable), kv_dtypes, ProductRounding::kBf16},
          {"CpuAvx2Bf16", bf16(CpuLevel::kAvx2), kv_dtypes, ProductRounding::kBf16},
          {"CpuAvx512VnniBf16", bf16(CpuLevel::kAvx512Vnni), kv_dtypes, ProductRounding::kBf16},
          {"CpuAmxBf16", bf16(CpuLevel::kAmx), kv_dtypes, ProductRounding::kBf16}};
}

}  // namespace phalanx::kernels
