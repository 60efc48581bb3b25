#include "kernels/cuda/rank_sum.h"

#include "kernels/cuda/device.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/norm.h"
#include "kernels/cuda/numbers.h"

namespace phalanx::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr size_t kAccessBytes = 16;

// Sums of kCount elements that lie together, from `first` on.
template <typename T, int kCount>
__device__ void SumParts(const T* parts, int world, int64_t count, int64_t first,
                         float (&total)[kCount]) {
  LoadFloats<kCount>(parts + first, total);
  for (int rank = 1; rank < world; ++rank) {
    float part[kCount];
    LoadFloats<kCount>(parts + rank * count + first, part);
#pragma unroll
    for (int i = 0; i < kCount; ++i) total[i] += part[i];
  }
}

template <typename T, int kCount>
__global__ void RankSumKernel(const T* parts, int world, int64_t count, T* sum) {
  WaitForPrevious();
  const int64_t first = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * kCount;
  if (first >= count) return;
  float total[kCount];
  SumParts(parts, world, count, first, total);
  StoreFloats<kCount>(total, sum + first);
}

static_assert(kThreads == kNormThreads);

// One block for each row.
template <int kCount, typename Residual, typename T>
__global__ void RankSumAddRmsNormKernel(const T* parts, int world, int64_t rows, int64_t cols,
                                        Residual* residual, const float* weight, float eps,
                                        T* out) {
  WaitForPrevious();
  Residual* const row = residual + blockIdx.x * cols;
  for (int64_t i = threadIdx.x * kCount; i < cols; i += kThreads * kCount) {
    float x[kCount];
    float total[kCount];
    LoadFloats<kCount>(row + i, x);
    SumParts(parts, world, rows * cols, blockIdx.x * cols + i, total);
#pragma unroll
    for (int j = 0; j < kCount; ++j) x[j] += ToFloat(FromFloat<T>(total[j]));
    StoreFloats<kCount>(x, row + i);
  }
  // Each thread reads back what it wrote itself.
  NormRows<kCount, 1>(row, 1, cols, weight, eps, out + blockIdx.x * cols, cols);
}

template <int kCount>
void LaunchAddRmsNorm(cudaStream_t stream, int world, const void* parts, const Tensor& residual,
                      const Tensor& weight, float eps, const Tensor& out) {
  const LaunchShape shape = {.grid = dim3(static_cast<uint32_t>(residual.rows)),
                             .block = dim3(kThreads)};
  WithType(residual.dtype, [&](auto residual_tag) {
    WithType(out.dtype, [&](auto tag) {
      using Residual = typename decltype(residual_tag)::Type;
      using T = typename decltype(tag)::Type;
      Launch(stream, shape, RankSumAddRmsNormKernel<kCount, Residual, T>,
             static_cast<const T*>(parts), world, residual.rows, residual.cols,
             static_cast<Residual*>(residual.data), static_cast<const float*>(weight.data), eps,
             static_cast<T*>(out.data));
    });
  });
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

void LaunchRankSumAddRmsNorm(cudaStream_t stream, int world, const void* parts,
                             const Tensor& residual, const Tensor& weight, float eps,
                             const Tensor& out) {
  if (residual.cols % kNormPack == 0) {
    LaunchAddRmsNorm<kNormPack>(stream, world, parts, residual, weight, eps, out);
  } else {
    LaunchAddRmsNorm<1>(stream, world, parts, residual, weight, eps, out);
  }
}

}  // namespace phalanx::kernels::cuda
