#include "kernels/cuda/linear.h"

#include "kernels/cuda/device.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/numbers.h"
#include "kernels/cuda/warp.h"
#include "kernels/cuda/weights.h"

namespace phalanx::kernels::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarpSize;

// Rows of x that a warp takes with one pass over the weights of its output.
constexpr int kRows = 8;

// The products of one output of `w` with the rows of x from `first_row` on; all lanes get all.
template <WeightFormat kFormat, typename T>
__device__ void Products(const DeviceMatrix& w, int64_t output, const T* x, int rows,
                         float (&sums)[kRows]) {
#pragma unroll
  for (int r = 0; r < kRows; ++r) sums[r] = 0.0f;
  for (int64_t i = LaneId(); i < w.in_features; i += kWarpSize) {
    const float weight = WeightAt<kFormat>(w, output, i);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (r < rows) sums[r] = fmaf(weight, ToFloat(x[r * w.in_features + i]), sums[r]);
    }
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    if (r < rows) sums[r] = WarpSum(sums[r]);
  }
}

// One warp for each output and kRows rows.
template <WeightFormat kFormat, typename T, typename Out>
__global__ void __launch_bounds__(kThreads)
    LinearKernel(const T* x, int64_t rows, DeviceMatrix w, LinearOutput out) {
  WaitForPrevious();
  const int64_t output = int64_t{blockIdx.x} * kWarps + WarpId();
  if (output >= w.out_features) return;
  const int64_t first_row = int64_t{blockIdx.y} * kRows;
  const int count = static_cast<int>(rows - first_row < kRows ? rows - first_row : kRows);
  float sums[kRows];
  Products<kFormat>(w, output, x + first_row * w.in_features, count, sums);
  // Lane r writes row r.
  float sum = 0.0f;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    if (r == LaneId()) sum = sums[r];
  }
  if (LaneId() >= count) return;
  Out* const to = static_cast<Out*>(out.data) + (first_row + LaneId()) * out.row_stride + output;
  if (out.bias != nullptr) sum += out.bias[output];
  if (out.adds) sum += ToFloat(*to);
  *to = FromFloat<Out>(sum);
}

__device__ __forceinline__ float Silu(float x) { return x / (1.0f + expf(-x)); }

// Three blocks on a multiprocessor, or the compiler tries for more and spills.
template <WeightFormat kGate, WeightFormat kUp, typename T>
__global__ void __launch_bounds__(kThreads, 3)
    GatedLinearKernel(const T* x, int64_t rows, DeviceMatrix gate, DeviceMatrix up, T* out) {
  WaitForPrevious();
  const int64_t output = int64_t{blockIdx.x} * kWarps + WarpId();
  if (output >= gate.out_features) return;
  const int64_t first_row = int64_t{blockIdx.y} * kRows;
  const int count = static_cast<int>(rows - first_row < kRows ? rows - first_row : kRows);
  const T* const from = x + first_row * gate.in_features;
  float gates[kRows];
  float ups[kRows];
  Products<kGate>(gate, output, from, count, gates);
  Products<kUp>(up, output, from, count, ups);
  float result = 0.0f;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    if (r == LaneId()) result = Silu(gates[r]) * ups[r];
  }
  if (LaneId() >= count) return;
  out[(first_row + LaneId()) * gate.out_features + output] = FromFloat<T>(result);
}

LaunchShape ShapeOf(int64_t outputs, int64_t rows) {
  return {.grid = dim3(static_cast<uint32_t>(CeilDivide(outputs, kWarps)),
                       static_cast<uint32_t>(CeilDivide(rows, kRows))),
          .block = dim3(kThreads)};
}

}  // namespace

void LaunchLinear(cudaStream_t stream, const Tensor& x, const DeviceMatrix& w,
                  const LinearOutput& out) {
  WithFormat(w.format, [&](auto format) {
    WithType(x.dtype, [&](auto tag) {
      WithType(out.dtype, [&](auto out_tag) {
        using T = typename decltype(tag)::Type;
        using Out = typename decltype(out_tag)::Type;
        Launch(stream, ShapeOf(w.out_features, x.rows),
               LinearKernel<decltype(format)::value, T, Out>, static_cast<const T*>(x.data), x.rows,
               w, out);
      });
    });
  });
}

void LaunchGatedLinear(cudaStream_t stream, const Tensor& x, const DeviceMatrix& gate,
                       const DeviceMatrix& up, const Tensor& out) {
  WithFormat(gate.format, [&](auto gate_format) {
    WithFormat(up.format, [&](auto up_format) {
      WithType(x.dtype, [&](auto tag) {
        using T = typename decltype(tag)::Type;
        Launch(stream, ShapeOf(gate.out_features, x.rows),
               GatedLinearKernel<decltype(gate_format)::value, decltype(up_format)::value, T>,
               static_cast<const T*>(x.data), x.rows, gate, up, static_cast<T*>(out.data));
      });
    });
  });
}

}  // namespace phalanx::kernels::cuda
