// The AVX-512 kernels, for the table in avx512_kernels.cc; see kernel_set.h. To be called only on a
// machine that has what avx512.h names, LinearBf16 where there is AVX512_BF16 too.
#ifndef PHALANX_KERNELS_CPU_AVX512_KERNELS_H_
#define PHALANX_KERNELS_CPU_AVX512_KERNELS_H_

#include <cstdint>

#include "kernels/cpu/kernel_set.h"

namespace phalanx::kernels::avx512 {

void Attention(const AttentionTask& task, int64_t segment, float* states);
const AttentionKernels& Bf16Attention();  // Needs AVX512_BF16.
void Linear(const LinearTask& task, int64_t group_begin, int64_t group_end);
void LinearInt8(const LinearTask& task, int64_t group_begin, int64_t group_end);
void LinearBf16(const LinearTask& task, int64_t group_begin, int64_t group_end);
float Highest(const float* logits, int64_t n, bool* has_nan);
uint64_t WeightsOf(const Weights& weights, const float* logits, int64_t n, uint64_t* out);
void KeysOf(const float* logits, int64_t n, uint32_t* keys);
int64_t Select(const float* logits, int64_t n, KeyRange keys, float* out);
void AddExponentials(const float* logits, int64_t n, float max, ExpSum* sum);

}  // namespace phalanx::kernels::avx512

#endif  // PHALANX_KERNELS_CPU_AVX512_KERNELS_H_
