#include "kernels/cpu/avx2_kernels.h"
#include "kernels/cpu/avx2_vectors.h"

#define PHALANX_TARGET PHALANX_AVX2
#include "kernels/cpu/vector_attention.h"

namespace phalanx::kernels::avx2 {

void Attention(const AttentionTask& task, int64_t segment, float* states) {
  SegmentOfTask<Vectors>(task, segment, states);
}

}  // namespace phalanx::kernels::avx2
