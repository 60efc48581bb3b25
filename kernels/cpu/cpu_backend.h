// The backend for machines without an accelerator: threads and vector instructions, float32
// activations, weights in about the size they have in their file.
#ifndef PHALANX_KERNELS_CPU_CPU_BACKEND_H_
#define PHALANX_KERNELS_CPU_CPU_BACKEND_H_

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/ops.h"

namespace phalanx::kernels {

enum class CpuInstructions {
  kBest,      // The best that this machine has; which, Backend::Arithmetic tells.
  kPortable,  // What every machine has.
  kAvx2,      // AVX2, FMA and F16C.
};

struct CpuOptions {
  // Threads that compute, the calling one included; at least 1.
  int num_threads = 1;
  CpuInstructions instructions = CpuInstructions::kBest;
  // Backend::kv_cache_dtype; not kFp8.
  KvDType kv_cache = KvDType::kF32;
};

// Differs from the reference only by the rounding of float32 sums: weights are dequantized to the
// same bits. Results do not depend on the number of threads, only on `instructions`.
// INVALID_ARGUMENT for fewer than one thread, instructions that this machine lacks, or a KV cache
// in fp8.
absl::StatusOr<std::unique_ptr<Backend>> MakeCpuBackend(const CpuOptions& options);

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_CPU_CPU_BACKEND_H_
