// The inner loops of the CPU backend, one set for each kind of vector instructions. A kernel does
// one thread's part; what it computes does not depend on how the work was split.
#ifndef PHALANX_KERNELS_CPU_KERNEL_SET_H_
#define PHALANX_KERNELS_CPU_KERNEL_SET_H_

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/packed_matrix.h"
#include "kernels/kv_dtype.h"

namespace phalanx::kernels {

// A product of all rows with the weights; the kernel is told which outputs to compute.
struct LinearTask {
  const PackedMatrix* weights = nullptr;
  const float* x = nullptr;  // [rows, in_features]
  int64_t rows = 0;
  const float* bias = nullptr;  // [out_features], or null.
  float* out = nullptr;         // [rows, out_features]
  int64_t out_stride = 0;       // Floats from a row of `out` to the next.
};

// The query heads of one token that share a KV head, over the first num_keys tokens of a sequence.
struct AttentionTask {
  const float* query = nullptr;  // [num_heads, head_dim]
  int num_heads = 0;
  int head_dim = 0;
  int64_t num_keys = 0;             // At least 1.
  const int32_t* blocks = nullptr;  // Block numbers of the sequence, from its first token.
  // Keys, values and scales of this layer and KV head in block 0; see kv_arena.h for the layout.
  KvDType dtype = KvDType::kF32;  // Or kBF16 or kInt8.
  const std::byte* keys = nullptr;
  const std::byte* values = nullptr;
  const std::byte* scales = nullptr;  // Only kInt8 has them.
  int64_t block_stride = 0;           // Bytes from a block to the next, for all three.
  float scale = 0.0f;
  float* out = nullptr;  // [num_heads, head_dim]
};

struct KernelSet {
  const char* name;  // For Backend::Describe: "portable" or "avx2".
  // Computes the outputs of groups [group_begin, group_end), for all rows.
  void (*linear)(const LinearTask& task, int64_t group_begin, int64_t group_end);
  void (*attention)(const AttentionTask& task);
  // rms_norm, add and silu_mul work on one row of n elements. `out` of rms_norm may be `x`, that of
  // silu_mul may be `gate`. add and silu_mul give each element the same bits wherever a row is cut.
  void (*rms_norm)(const float* x, const float* weight, float eps, int64_t n, float* out);
  void (*add)(const float* delta, int64_t n, float* residual);
  void (*silu_mul)(const float* gate, const float* up, int64_t n, float* out);
};

const KernelSet& PortableKernels();

// Null if this machine or build lacks AVX2, FMA or F16C.
const KernelSet* Avx2Kernels();

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_CPU_KERNEL_SET_H_
