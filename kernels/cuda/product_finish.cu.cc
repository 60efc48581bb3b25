#include "kernels/cuda/product_finish.h"

#include "kernels/cuda/device.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/numbers.h"

namespace phalanx::kernels::cuda {
namespace {

constexpr int kFinishThreads = 256;
// Elements of a row that a thread takes at once.
constexpr int kCount = 4;

// The first element that this thread takes.
__device__ int64_t FirstOfThread() {
  return (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * kCount;
}

template <typename Out>
__global__ void AddBiasKernel(const float* products, int64_t rows, int64_t outputs,
                              const float* bias, Out* out, int64_t row_stride) {
  WaitForPrevious();
  const int64_t at = FirstOfThread();
  if (at >= rows * outputs) return;
  const int64_t output = at % outputs;
  float x[kCount];
  LoadFloats<kCount>(products + at, x);
#pragma unroll
  for (int i = 0; i < kCount; ++i) x[i] += bias[output + i];
  StoreFloats<kCount>(x, out + at / outputs * row_stride + output);
}

template <typename Out>
__global__ void GateKernel(const float* gate, const float* up, int64_t elements, Out* out) {
  WaitForPrevious();
  const int64_t at = FirstOfThread();
  if (at >= elements) return;
  float g[kCount];
  float u[kCount];
  LoadFloats<kCount>(gate + at, g);
  LoadFloats<kCount>(up + at, u);
#pragma unroll
  for (int i = 0; i < kCount; ++i) g[i] = g[i] / (1.0f + expf(-g[i])) * u[i];
  StoreFloats<kCount>(g, out + at);
}

LaunchShape ForEachPiece(int64_t elements) {
  return {.grid = dim3(static_cast<uint32_t>(CeilDivide(elements / kCount, kFinishThreads))),
          .block = dim3(kFinishThreads)};
}

}  // namespace

void LaunchAddBias(cudaStream_t stream, const float* products, int64_t rows, int64_t outputs,
                   const LinearOutput& out) {
  WithType(out.dtype, [&](auto tag) {
    using Out = typename decltype(tag)::Type;
    Launch(stream, ForEachPiece(rows * outputs), AddBiasKernel<Out>, products, rows, outputs,
           out.bias, static_cast<Out*>(out.data), out.row_stride);
  });
}

void LaunchGate(cudaStream_t stream, const float* gate, const float* up, int64_t rows,
                int64_t outputs, void* out, DType out_type) {
  WithType(out_type, [&](auto tag) {
    using Out = typename decltype(tag)::Type;
    Launch(stream, ForEachPiece(rows * outputs), GateKernel<Out>, gate, up, rows * outputs,
           static_cast<Out*>(out));
  });
}

}  // namespace phalanx::kernels::cuda
