// The backends of CPUs.
#include "kernels/cpu/cpu_backend.h"
#include "kernels/testing/op_suite.h"

namespace phalanx::kernels {

std::vector<BackendUnderTest> AllBackends() {
  const auto cpu = [](int threads, CpuInstructions instructions) {
    return [=] { return MakeCpuBackend({.num_threads = threads, .instructions = instructions}); };
  };
  return {{"Reference", [] { return MakeReferenceBackend(); }},
          {"CpuPortable1Thread", cpu(1, CpuInstructions::kPortable)},
          {"CpuPortable2Threads", cpu(2, CpuInstructions::kPortable)},
          {"CpuAvx21Thread", cpu(1, CpuInstructions::kAvx2)},
          {"CpuAvx22Threads", cpu(2, CpuInstructions::kAvx2)}};
}

}  // namespace phalanx::kernels
