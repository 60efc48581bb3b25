// The AVX2 kernels, for the table in avx2_kernels.cc; see kernel_set.h. To be called only on a
// machine that has AVX2, FMA and F16C.
#ifndef PHALANX_KERNELS_CPU_AVX2_KERNELS_H_
#define PHALANX_KERNELS_CPU_AVX2_KERNELS_H_

#include "kernels/cpu/int8_layout.h"
#include "kernels/cpu/kernel_set.h"

namespace phalanx::kernels::avx2 {

void Linear(const LinearTask& task, int64_t group_begin, int64_t group_end);
void QuantizeBlocks(const float* x, int blocks, int8_t* levels, int64_t stride,
                    int8::QuantizedBlocks& to);
void LinearInt8(const LinearTask& task, int64_t group_begin, int64_t group_end);
void RoundToBf16(const float* x, int64_t n, uint16_t* to);
void LinearBf16(const LinearTask& task, int64_t group_begin, int64_t group_end);
void Attention(const AttentionTask& task, int64_t segment, float* states);
void RmsNorm(const float* x, const float* weight, float eps, int64_t n, float* out);
void Add(const float* delta, int64_t n, float* residual);
void SiluMul(const float* gate, const float* up, int64_t n, float* out);
float Highest(const float* logits, int64_t n, bool* has_nan);
uint64_t WeightsOf(const Weights& weights, const float* logits, int64_t n, uint64_t* out);
void KeysOf(const float* logits, int64_t n, uint32_t* keys);
int64_t Select(const float* logits, int64_t n, KeyRange keys, float* out);
void AddExponentials(const float* logits, int64_t n, float max, ExpSum* sum);

}  // namespace phalanx::kernels::avx2

#endif  // PHALANX_KERNELS_CPU_AVX2_KERNELS_H_
