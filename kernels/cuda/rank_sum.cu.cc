#include "kernels/cuda/rank_sum.h"

#include "kernels/cuda/device.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/numbers.h"

namespace phalanx::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr size_t kAccessBytes = 16;

// Each thread sums kCount elements that lie together.
template <typename T, int kCount>
__global__ void RankSumKernel(const T* parts, int world, int64_t count, T* sum) {
  WaitForPrevious();
  const int64_t first = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * kCount;
  if (first >= count) return;
  float total[kCount];
  LoadFloats<kCount>(parts + first, total);
  for (int rank = 1; rank < world; ++rank) {
    float part[kCount];
    LoadFloats<kCount>(parts + rank * count + first, part);
#pragma unroll
    for (int i = 0; i < kCount; ++i) total[i] += part[i];
  }
  StoreFloats<kCount>(total, sum + first);
}

template <typename T, int kCount>
void LaunchPacked(cudaStream_t stream, int world, int64_t count, const T* parts, T* sum) {
  const LaunchShape shape = {
      .grid = dim3(static_cast<uint32_t>(CeilDivide(count, int64_t{kThreads} * kCount))),
      .block = dim3(kThreads)};
  Launch(stream, shape, RankSumKernel<T, kCount>, parts, world, count, sum);
}

bool IsAligned(const void* data) { return reinterpret_cast<uintptr_t>(data) % kAccessBytes == 0; }

}  // namespace

void LaunchRankSum(cudaStream_t stream, DType dtype, int world, int64_t count, const void* parts,
                   void* sum) {
  WithType(dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    constexpr int kPack = kAccessBytes / sizeof(T);
    const T* const from = static_cast<const T*>(parts);
    T* const to = static_cast<T*>(sum);
    if (count % kPack == 0 && IsAligned(from) && IsAligned(to)) {
      LaunchPacked<T, kPack>(stream, world, count, from, to);
    } else {
      LaunchPacked<T, 1>(stream, world, count, from, to);
    }
  });
}

}  // namespace phalanx::kernels::cuda
