#include "kernels/cuda/tensor_core_linear.h"

#include <cstddef>
#include <type_traits>

#include "kernels/cuda/device.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/linear_tiles.h"
#include "kernels/cuda/mma.h"
#include "kernels/cuda/norm.h"
#include "kernels/cuda/numbers.h"
#include "kernels/cuda/weight_tiles.h"
#include "kernels/cuda/weights.h"

namespace phalanx::kernels::cuda {
namespace {

using namespace linear;  // NOLINT: what these kernels are made of.

// --- Few rows ---

constexpr int kStreamThreads = kRanges * kWarpSize;

// Tiles that a warp has asked memory for before it needs the first one. From compute
// capability 12.0 on the compiler has no registers for the scales of four beside the sums of many
// rows.
template <WeightFormat kFormat, int kTiles>
constexpr int kAhead = 4;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1200
template <>
constexpr int kAhead<WeightFormat::kCodes4, 8> = 2;
template <>
constexpr int kAhead<WeightFormat::kLevels8, 8> = 2;
#endif

// The rows that weights are multiplied with, `stride` elements apart.
struct InputRows {
  const BFloat16* data = nullptr;
  int64_t stride = 0;
};

// Where a kernel has them from: an earlier kernel.
struct PlainInputs {
  const BFloat16* x;

  // To be called by all threads of a block, once it has asked for weights.
  __device__ InputRows Await(const DeviceMatrix& m, int64_t rows, BFloat16* memory) const {
    WaitForPrevious();
    return {x, m.in_features};
  }
};

// Or they are the norms of rows of the residual, which each block takes for itself and keeps in
// shared memory.
struct NormedInputs {
  const float* residual;
  const float* weight;
  float eps;

  // The lanes of a warp read pieces of several rows at once. These lie in different banks of shared
  // memory if rows are an odd number of chunks apart.
  __host__ __device__ static int64_t Stride(int64_t in_features) {
    return (in_features / kChunkInputs | 1) * kChunkInputs;
  }
  static size_t Bytes(int64_t rows, int64_t in_features) {
    return static_cast<size_t>(rows * Stride(in_features)) * sizeof(BFloat16);
  }

  __device__ InputRows Await(const DeviceMatrix& m, int64_t rows, BFloat16* memory) const {
    static_assert(kStreamThreads == kNormThreads && kChunkInputs % kNormPack == 0);
    WaitForPrevious();
    const int64_t stride = Stride(m.in_features);
    NormRows<kNormPack, kTileTokens>(residual, static_cast<int>(rows), m.in_features, weight, eps,
                                     memory, stride);
    __syncthreads();
    return {memory, stride};
  }
};

// Whether the kernels for a format have registers to spare for a second block on a multiprocessor.
// From compute capability 10.0 on the compiler takes more of them for levels of 8 bits.
template <WeightFormat kFormat>
constexpr bool kTakesFewRegisters = kFormat != WeightFormat::kF32;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
template <>
constexpr bool kTakesFewRegisters<WeightFormat::kLevels8> = false;
#endif

// Blocks that a multiprocessor is to have room for. Where they take norms there are two if that can
// be, so that one reads weights meanwhile.
template <WeightFormat kFormat, typename Inputs>
constexpr int kMinBlocks = !std::is_same_v<Inputs, NormedInputs> ? 1
                           : kTakesFewRegisters<kFormat>         ? 2
                                                                 : 1;

// Sums of this warp's range for one tile of outputs and kTiles times kTileTokens rows, which
// `await` gives. Weights are written by no kernel, so the first ones are asked for before that.
template <WeightFormat kFormat, int kTiles, typename Await>
__device__ void SumRange(const DeviceMatrix& m, int64_t tile, int64_t rows, Await await,
                         float (&sums)[kTiles][4]) {
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) sums[i][j] = 0.0f;
  }
  constexpr int kTilesAhead = kAhead<kFormat, kTiles>;
  const int64_t begin = RangeBegin(m.chunks(), Warp());
  const int64_t end = RangeBegin(m.chunks(), Warp() + 1);
  LoadedTile<kFormat> ahead[kTilesAhead];
#pragma unroll
  for (int i = 0; i < kTilesAhead; ++i) {
    if (begin + i < end) ahead[i].Load(m, tile, begin + i);
  }
  const InputRows x = await();
  for (int64_t first = begin; first < end; first += kTilesAhead) {
#pragma unroll
    for (int i = 0; i < kTilesAhead; ++i) {
      const int64_t chunk = first + i;
      if (chunk >= end) break;
      const ReadyTile<kFormat> weights(ahead[i], m);
      if (chunk + kTilesAhead < end) ahead[i].Load(m, tile, chunk + kTilesAhead);
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        const int row = t * kTileTokens + Lane() / 4;
        InputTile inputs = {};
        if (row < static_cast<int>(rows)) {
          inputs = LoadInputs<kFormat>(x.data + row * x.stride + chunk * kChunkInputs, Lane());
        }
        weights.Multiply(inputs, sums[t]);
      }
    }
  }
}

// The sums of all ranges, added in order, for the outputs and rows that this thread writes; what
// lies in shared memory is [range][kTileRows][kTiles * kTileTokens].
template <int kTiles>
class RangeSums {
 public:
  static constexpr int kRows = kTiles * kTileTokens;
  static constexpr int kElements = kTileRows * kRows;

  __device__ explicit RangeSums(float* memory) : memory_(memory) {}

  __device__ void Store(const float (&sums)[kTiles][4]) {
    float* const mine = memory_ + Warp() * kElements;
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int output = Lane() / 4 + j / 2 * 8;
        mine[output * kRows + t * kTileTokens + Lane() % 4 * 2 + j % 2] = sums[t][j];
      }
    }
  }

  // Element `i` of [kRows][kTileRows], after a barrier.
  __device__ float Total(int i) const {
    const int at = i % kTileRows * kRows + i / kTileRows;
    float total = memory_[at];
#pragma unroll
    for (int range = 1; range < kRanges; ++range) total += memory_[range * kElements + at];
    return total;
  }

 private:
  float* const memory_;
};

template <WeightFormat kFormat, int kTiles, typename Out, typename Inputs>
__global__ void __launch_bounds__(kStreamThreads, kMinBlocks<kFormat, Inputs>)
    StreamKernel(Inputs inputs, int64_t rows, DeviceMatrix w, LinearOutput out) {
  PHALANX_SHARED float memory[kRanges * RangeSums<kTiles>::kElements];
  RangeSums<kTiles> ranges(memory);
  float sums[kTiles][4];
  const auto await = [&] { return inputs.Await(w, rows, DynamicShared<BFloat16>()); };
  SumRange<kFormat, kTiles>(w, blockIdx.x, rows, await, sums);
  ranges.Store(sums);
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < ranges.kElements; i += kStreamThreads) {
    const int64_t output = int64_t{blockIdx.x} * kTileRows + i % kTileRows;
    const int64_t row = i / kTileRows;
    if (output < w.out_features && row < rows) Write<Out>(out, row, output, ranges.Total(i));
  }
}

// Shared memory for the sums of both matrices.
template <int kTiles>
constexpr size_t kGatedSumsBytes = sizeof(float[2][kRanges][RangeSums<kTiles>::kElements]);

template <WeightFormat kFormat, int kTiles, typename Inputs>
__global__ void __launch_bounds__(kStreamThreads, kMinBlocks<kFormat, Inputs>)
    GatedStreamKernel(Inputs inputs, int64_t rows, DeviceMatrix gate, DeviceMatrix up,
                      BFloat16* out) {
  constexpr int kElements = RangeSums<kTiles>::kElements;
  float* const memory = DynamicShared<float>();
  RangeSums<kTiles> gates(memory);
  RangeSums<kTiles> ups(memory + kRanges * kElements);
  auto* const rest =
      reinterpret_cast<BFloat16*>(DynamicShared<std::byte>() + kGatedSumsBytes<kTiles>);
  InputRows x;
  const auto await = [&] { return x = inputs.Await(gate, rows, rest); };
  const auto again = [&] { return x; };
  float sums[kTiles][4];
  SumRange<kFormat, kTiles>(gate, blockIdx.x, rows, await, sums);
  gates.Store(sums);
  SumRange<kFormat, kTiles>(up, blockIdx.x, rows, again, sums);
  ups.Store(sums);
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kElements; i += kStreamThreads) {
    const int64_t output = int64_t{blockIdx.x} * kTileRows + i % kTileRows;
    const int64_t row = i / kTileRows;
    if (output < gate.out_features && row < rows) {
      out[row * gate.out_features + output] =
          FromFloat<BFloat16>(Silu(gates.Total(i)) * ups.Total(i));
    }
  }
}

// --- Many rows ---

template <WeightFormat kFormat, typename Out>
__global__ void __launch_bounds__(kManyThreads)
    ManyRowsKernel(const BFloat16* x, int64_t rows, DeviceMatrix w, LinearOutput out) {
  WaitForPrevious();
  const WarpSums sums = SumTiles<kFormat>(w, x, rows);
  sums.ForEach(sums, [&](int64_t output, int64_t row, float sum, float) {
    if (output < w.out_features && row < rows) Write<Out>(out, row, output, sum);
  });
}

template <WeightFormat kFormat>
__global__ void __launch_bounds__(kManyThreads)
    GatedManyRowsKernel(const BFloat16* x, int64_t rows, DeviceMatrix gate, DeviceMatrix up,
                        BFloat16* out) {
  WaitForPrevious();
  const WarpSums gates = SumTiles<kFormat>(gate, x, rows);
  const WarpSums ups = SumTiles<kFormat>(up, x, rows);
  gates.ForEach(ups, [&](int64_t output, int64_t row, float g, float u) {
    if (output < gate.out_features && row < rows) {
      out[row * gate.out_features + output] = FromFloat<BFloat16>(Silu(g) * u);
    }
  });
}

// --- Launching ---

// With more rows the kernel for many rows is used; it reads each weight once for kBlockRows rows.
constexpr int64_t kMaxStreamRows = 64;

// Calls f with the number of row tiles that a few rows take, as a constant.
template <typename Function>
void WithTiles(int64_t rows, Function f) {
  if (rows <= kTileTokens) {
    f(std::integral_constant<int, 1>());
  } else if (rows <= 2 * kTileTokens) {
    f(std::integral_constant<int, 2>());
  } else if (rows <= 4 * kTileTokens) {
    f(std::integral_constant<int, 4>());
  } else {
    f(std::integral_constant<int, 8>());
  }
}

LaunchShape StreamShape(int64_t outputs) {
  return {.grid = dim3(static_cast<uint32_t>(CeilDivide(outputs, kTileRows))),
          .block = dim3(kStreamThreads)};
}

LaunchShape ManyShape(int64_t outputs, int64_t rows, size_t shared_bytes) {
  return {.grid = dim3(static_cast<uint32_t>(CeilDivide(outputs, kBlockOutputs)),
                       static_cast<uint32_t>(CeilDivide(rows, kBlockRows))),
          .block = dim3(kManyThreads),
          .shared_bytes = shared_bytes};
}

template <WeightFormat kFormat, typename Out>
void LaunchTyped(cudaStream_t stream, const BFloat16* x, int64_t rows, const DeviceMatrix& w,
                 const LinearOutput& out) {
  if (rows > kMaxStreamRows) {
    constexpr size_t kBytes = Stages<kFormat>::kBytes;
    AllowSharedBytes(ManyRowsKernel<kFormat, Out>, kBytes);
    Launch(stream, ManyShape(w.out_features, rows, kBytes), ManyRowsKernel<kFormat, Out>, x, rows,
           w, out);
    return;
  }
  WithTiles(rows, [&](auto tiles) {
    Launch(stream, StreamShape(w.out_features),
           StreamKernel<kFormat, decltype(tiles)::value, Out, PlainInputs>, PlainInputs{x}, rows, w,
           out);
  });
}

template <WeightFormat kFormat>
void LaunchGatedTyped(cudaStream_t stream, const BFloat16* x, int64_t rows,
                      const DeviceMatrix& gate, const DeviceMatrix& up, BFloat16* out) {
  if (rows > kMaxStreamRows) {
    constexpr size_t kBytes = Stages<kFormat>::kBytes;
    AllowSharedBytes(GatedManyRowsKernel<kFormat>, kBytes);
    Launch(stream, ManyShape(gate.out_features, rows, kBytes), GatedManyRowsKernel<kFormat>, x,
           rows, gate, up, out);
    return;
  }
  WithTiles(rows, [&](auto tiles) {
    constexpr int kTiles = decltype(tiles)::value;
    constexpr auto kKernel = GatedStreamKernel<kFormat, kTiles, PlainInputs>;
    AllowSharedBytes(kKernel, kGatedSumsBytes<kTiles>);
    LaunchShape shape = StreamShape(gate.out_features);
    shape.shared_bytes = kGatedSumsBytes<kTiles>;
    Launch(stream, shape, kKernel, PlainInputs{x}, rows, gate, up, out);
  });
}

// --- With the norm of their inputs ---

// Shared memory that a block may ask for: a multiprocessor has room for two of them, and for what
// CUDA keeps of it for each.
size_t MaxNormBlockBytes() { return MaxSharedBytes() / 2 - 2048; }

NormedInputs InputsOf(const NormOfRows& norm) {
  return {.residual = static_cast<const float*>(norm.residual.data),
          .weight = static_cast<const float*>(norm.weight.data),
          .eps = norm.eps};
}

// `kernel` has `sums_bytes` of shared memory for its sums.
template <typename Kernel, typename... Arguments>
void LaunchNormed(cudaStream_t stream, Kernel kernel, const NormOfRows& norm, size_t sums_bytes,
                  int64_t outputs, Arguments... arguments) {
  LaunchShape shape = StreamShape(outputs);
  shape.shared_bytes = sums_bytes + NormedInputs::Bytes(norm.residual.rows, norm.residual.cols);
  AllowSharedBytes(kernel, MaxNormBlockBytes());
  Launch(stream, shape, kernel, InputsOf(norm), norm.residual.rows, arguments...);
}

}  // namespace

bool SuitsTensorCores(const DeviceMatrix& w) { return w.in_features % kChunkInputs == 0; }

bool SuitsNorm(const DeviceMatrix& w, const Tensor& residual) {
  const int64_t rows = residual.rows;
  return SuitsTensorCores(w) && residual.dtype == DType::kF32 && rows <= kTileTokens &&
         kGatedSumsBytes<1> + NormedInputs::Bytes(rows, w.in_features) <= MaxNormBlockBytes();
}

void LaunchTensorCoreLinear(cudaStream_t stream, const Tensor& x, const DeviceMatrix& w,
                            const LinearOutput& out) {
  WithFormat(w.format, [&](auto format) {
    WithType(out.dtype, [&](auto out_tag) {
      LaunchTyped<decltype(format)::value, typename decltype(out_tag)::Type>(
          stream, static_cast<const BFloat16*>(x.data), x.rows, w, out);
    });
  });
}

void LaunchTensorCoreGatedLinear(cudaStream_t stream, const Tensor& x, const DeviceMatrix& gate,
                                 const DeviceMatrix& up, const Tensor& out) {
  WithFormat(gate.format, [&](auto format) {
    LaunchGatedTyped<decltype(format)::value>(stream, static_cast<const BFloat16*>(x.data), x.rows,
                                              gate, up, static_cast<BFloat16*>(out.data));
  });
}

void LaunchTensorCoreNormLinear(cudaStream_t stream, const NormOfRows& norm, const DeviceMatrix& w,
                                const LinearOutput& out) {
  WithFormat(w.format, [&](auto format) {
    LaunchNormed(stream, StreamKernel<decltype(format)::value, 1, BFloat16, NormedInputs>, norm,
                 /*sums_bytes=*/0, w.out_features, w, out);
  });
}

void LaunchTensorCoreNormGatedLinear(cudaStream_t stream, const NormOfRows& norm,
                                     const DeviceMatrix& gate, const DeviceMatrix& up,
                                     const Tensor& out) {
  WithFormat(gate.format, [&](auto format) {
    LaunchNormed(stream, GatedStreamKernel<decltype(format)::value, 1, NormedInputs>, norm,
                 kGatedSumsBytes<1>, gate.out_features, gate, up, static_cast<BFloat16*>(out.data));
  });
}

}  // namespace phalanx::kernels::cuda
