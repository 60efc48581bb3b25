// The inner loops of the CPU backend, one set for each kind of vector instructions. A kernel does
// one thread's part; what it computes does not depend on how the work was split.
#ifndef PHALANX_KERNELS_CPU_KERNEL_SET_H_
#define PHALANX_KERNELS_CPU_KERNEL_SET_H_

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/attention_task.h"
#include "kernels/cpu/bf16_format.h"
#include "kernels/cpu/int8_format.h"
#include "kernels/cpu/linear_format.h"
#include "kernels/sampling/logit_kernels.h"

namespace phalanx::kernels {

struct KernelSet {
  const char* name;  // For Backend::Describe: CpuLevelName.
  // FloatFormat::Kernel, Int8Format::Kernels and Bf16Format::Kernels.
  void (*linear)(const LinearTask& task, int64_t group_begin, int64_t group_end);
  Int8Format::Kernels int8;
  Bf16Format::Kernels bf16;
  // AttentionKernels::segment of attention in float32.
  void (*attention)(const AttentionTask& task, int64_t segment, float* states);
  // Attention that rounds queries and weights to bfloat16, for products that are not in float32
  // over caches in bfloat16 and int8; null where attention is always in float32.
  const AttentionKernels* bf16_attention = nullptr;
  // rms_norm, add and silu_mul work on one row of n elements. `out` of rms_norm may be `x`, that of
  // silu_mul may be `gate`. add and silu_mul give each element the same bits wherever a row is cut.
  void (*rms_norm)(const float* x, const float* weight, float eps, int64_t n, float* out);
  void (*add)(const float* delta, int64_t n, float* residual);
  void (*silu_mul)(const float* gate, const float* up, int64_t n, float* out);
  LogitKernels logits;
};

const KernelSet& PortableKernels();

// Those of the other levels of cpu_level.h, to be run only where CheckCpuLevel says OK, and
// AmxKernels where AllowTiles does too. Null in builds for other processors. Arm's dot products
// would be one more level: they too take four bytes of one output in each lane, as int8_layout.h
// lays them.
const KernelSet* Avx2Kernels();
const KernelSet* Avx2VnniKernels();
const KernelSet* Avx512Kernels();
// The same with AVX512_BF16, for machines of this level that have it.
const KernelSet* Avx512Bf16Kernels();
const KernelSet* AmxKernels();

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_CPU_KERNEL_SET_H_
