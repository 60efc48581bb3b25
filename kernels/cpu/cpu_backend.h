// The backend for machines without an accelerator: threads and vector instructions, float32
// activations, weights in about the size that they have in their file.
#ifndef PHALANX_KERNELS_CPU_CPU_BACKEND_H_
#define PHALANX_KERNELS_CPU_CPU_BACKEND_H_

#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/cpu/cpu_level.h"
#include "kernels/cpu/kernel_set.h"
#include "kernels/ops.h"

namespace phalanx::kernels {

// How products with weights are computed.
enum class CpuProducts {
  kFloat32,  // Weights are dequantized to the bits that the reference has.
  // Inputs of quantized weights are rounded to 8 bits, with a scale for each 32 of them;
  // int8_layout.h. Products with float weights are in float32.
  kInt8,
  // Inputs and weights of all types are rounded to bfloat16, and summed up in float32;
  // bf16_layout.h.
  kBFloat16,
};

struct CpuOptions {
  // Threads that compute, the calling one included; at least 1.
  int num_threads = 1;
  CpuLevel level = CpuLevel::kBest;
  CpuProducts products = CpuProducts::kFloat32;
  // Backend::kv_cache_dtype; not kFp8. None: kF32 beside kFloat32, and kBF16 beside the others,
  // where inputs are rounded as much anyway.
  std::optional<KvDType> kv_cache = std::nullopt;
  // The CPUs that each thread may run on, the calling one first; the backend sees to the others.
  // Empty: wherever the system puts them.
  std::vector<std::vector<int>> cpus = {};
};

// With products in float32 it differs from the reference only by the rounding of sums. Results do
// not depend on the number of threads, only on `level` and `products`. INVALID_ARGUMENT for fewer
// than one thread, a level that this machine lacks, or a KV cache in fp8; FAILED_PRECONDITION if
// AMX is wanted by name and the system does not allow it.
absl::StatusOr<std::unique_ptr<Backend>> MakeCpuBackend(const CpuOptions& options);

// The same with other kernels than those of options.level, for tests. `kernels` outlive it.
absl::StatusOr<std::unique_ptr<Backend>> MakeCpuBackend(const CpuOptions& options,
                                                        const KernelSet& kernels);

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_CPU_CPU_BACKEND_H_
