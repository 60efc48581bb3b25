#include "kernels/cuda/tensor_core_linear.h"

#include "kernels/cuda/device.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/mma.h"
#include "kernels/cuda/numbers.h"
#include "kernels/cuda/weight_tiles.h"
#include "kernels/cuda/weights.h"

namespace phalanx::kernels::cuda {
namespace {

template <WeightFormat kFormat>
constexpr bool kHasScales = kFormat == WeightFormat::kCodes4 || kFormat == WeightFormat::kLevels8;

__device__ int Lane() { return static_cast<int>(threadIdx.x % kWarpSize); }
__device__ int Warp() { return static_cast<int>(threadIdx.x / kWarpSize); }

__device__ int64_t RangeBegin(int64_t chunks, int range) { return chunks * range / kRanges; }

// Writes the product of `output` and row `row`.
template <typename Out>
__device__ __forceinline__ void Write(const LinearOutput& out, int64_t row, int64_t output,
                                      float sum) {
  Out* const to = static_cast<Out*>(out.data) + row * out.row_stride + output;
  if (out.bias != nullptr) sum += out.bias[output];
  if (out.adds) sum += ToFloat(*to);
  *to = FromFloat<Out>(sum);
}

__device__ __forceinline__ float Silu(float x) { return x / (1.0f + expf(-x)); }

// A tile of weights, as it comes from memory, with its scales.
template <WeightFormat kFormat>
struct LoadedTile {
  typename WeightTile<kFormat>::Raw raw;
  TileScales scales;  // Of formats that have them.

  // From global memory. Outputs past the last one are read as the last one; their sums are dropped.
  __device__ void Load(const DeviceMatrix& m, int64_t tile, int64_t chunk) {
    if constexpr (kHasScales<kFormat>) {
      const int64_t at = tile * m.chunks() + chunk;
      const auto* const data = static_cast<const std::byte*>(m.data);
      raw = WeightTile<kFormat>::Load(data +
                                      (at * kWarpSize + Lane()) * WeightTile<kFormat>::kLaneBytes);
      scales.Load(m, at * m.sub_blocks * kTileRows, Lane());
    } else {
      constexpr int kRowBytes = WeightTile<kFormat>::kRowBytes;
      const auto* const data = static_cast<const std::byte*>(m.data) + chunk * kRowBytes;
      const int64_t row_bytes = m.row_stride * (kRowBytes / kChunkInputs);
      const int64_t last = m.out_features - 1;
      const int64_t low = tile * kTileRows + Lane() / 4;
      raw = WeightTile<kFormat>::Load(data + (low < last ? low : last) * row_bytes,
                                      data + (low + 8 < last ? low + 8 : last) * row_bytes, Lane());
    }
  }
};

// A tile that is ready to be multiplied.
template <WeightFormat kFormat>
struct ReadyTile {
  WeightTile<kFormat> weights;
  TileScales scales;
  bool has_minimums;

  __device__ ReadyTile(const LoadedTile<kFormat>& loaded, const DeviceMatrix& m)
      : scales(loaded.scales), has_minimums(m.minimums != nullptr) {
    weights.Unpack(loaded.raw, m.zero);
  }

  __device__ void Multiply(const InputTile& x, float (&sums)[4]) const {
    if constexpr (kHasScales<kFormat>) {
      weights.MultiplyScaled(x, scales, has_minimums, sums);
    } else {
      weights.Multiply(x, sums);
    }
  }
};

// --- Few rows ---

constexpr int kStreamThreads = kRanges * kWarpSize;

// Tiles that a warp has asked memory for before it needs the first one.
constexpr int kAhead = 4;

// Sums of this warp's range for one tile of outputs and kTiles times kTileTokens rows.
template <WeightFormat kFormat, int kTiles>
__device__ void SumRange(const DeviceMatrix& m, int64_t tile, const BFloat16* x, int64_t rows,
                         bool waits, float (&sums)[kTiles][4]) {
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) sums[i][j] = 0.0f;
  }
  const int64_t begin = RangeBegin(m.chunks(), Warp());
  const int64_t end = RangeBegin(m.chunks(), Warp() + 1);
  LoadedTile<kFormat> ahead[kAhead];
#pragma unroll
  for (int i = 0; i < kAhead; ++i) {
    if (begin + i < end) ahead[i].Load(m, tile, begin + i);
  }
  // Weights are written by no kernel, so they may be read before the one that writes x is done.
  if (waits) WaitForPrevious();
  for (int64_t first = begin; first < end; first += kAhead) {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int64_t chunk = first + i;
      if (chunk >= end) break;
      const ReadyTile<kFormat> weights(ahead[i], m);
      if (chunk + kAhead < end) ahead[i].Load(m, tile, chunk + kAhead);
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        const int64_t row = t * kTileTokens + Lane() / 4;
        InputTile inputs = {};
        if (row < rows) {
          inputs = LoadInputs<kFormat>(x + row * m.in_features + chunk * kChunkInputs, Lane());
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

template <WeightFormat kFormat, int kTiles, typename Out>
__global__ void __launch_bounds__(kStreamThreads, 1)
    StreamKernel(const BFloat16* x, int64_t rows, DeviceMatrix w, LinearOutput out) {
  PHALANX_SHARED float memory[kRanges * RangeSums<kTiles>::kElements];
  RangeSums<kTiles> ranges(memory);
  float sums[kTiles][4];
  SumRange<kFormat, kTiles>(w, blockIdx.x, x, rows, /*waits=*/true, sums);
  ranges.Store(sums);
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < ranges.kElements; i += kStreamThreads) {
    const int64_t output = int64_t{blockIdx.x} * kTileRows + i % kTileRows;
    const int64_t row = i / kTileRows;
    if (output < w.out_features && row < rows) Write<Out>(out, row, output, ranges.Total(i));
  }
}

template <WeightFormat kFormat, int kTiles>
__global__ void __launch_bounds__(kStreamThreads, 1)
    GatedStreamKernel(const BFloat16* x, int64_t rows, DeviceMatrix gate, DeviceMatrix up,
                      BFloat16* out) {
  constexpr int kElements = RangeSums<kTiles>::kElements;
  float* const memory = DynamicShared<float>();
  RangeSums<kTiles> gates(memory);
  RangeSums<kTiles> ups(memory + kRanges * kElements);
  float sums[kTiles][4];
  SumRange<kFormat, kTiles>(gate, blockIdx.x, x, rows, /*waits=*/true, sums);
  gates.Store(sums);
  SumRange<kFormat, kTiles>(up, blockIdx.x, x, rows, /*waits=*/false, sums);
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

// A block has kBlockOutputs outputs and kBlockRows rows; its warps share them out, 2 by 4.
constexpr int kBlockOutputs = 64;
constexpr int kBlockRows = 128;
constexpr int kManyThreads = 256;
constexpr int kWarpTiles = 2;       // Tiles of outputs of a warp.
constexpr int kWarpInputTiles = 4;  // Tiles of rows of a warp.
constexpr int kStages = 4;

// Chunks of weights and inputs on their way through shared memory, kStages at once.
template <WeightFormat kFormat>
class Stages {
 public:
  static constexpr int kTiles = kBlockOutputs / kTileRows;
  static constexpr int kTileBytes = [] {
    if constexpr (kHasScales<kFormat>) {
      return WeightTile<kFormat>::kLaneBytes * kWarpSize;
    } else {
      return WeightTile<kFormat>::kRowBytes * kTileRows;
    }
  }();
  static constexpr int kWeightBytes = kTiles * kTileBytes;
  static constexpr int kInputBytes = kBlockRows * kChunkInputs * 2;
  static constexpr int kStageBytes = kWeightBytes + kInputBytes;
  static constexpr size_t kBytes = size_t{kStages} * kStageBytes;

  __device__ Stages(std::byte* memory, const DeviceMatrix& m, const BFloat16* x, int64_t rows)
      : memory_(memory), m_(m), x_(x), rows_(rows) {}

  // Asks for the chunk's weights and inputs; 16 bytes at a time.
  __device__ void Fetch(int64_t chunk) {
    std::byte* const stage = memory_ + chunk % kStages * kStageBytes;
    constexpr int kPiecesPerTile = kTileBytes / 16;
    for (int i = static_cast<int>(threadIdx.x); i < kTiles * kPiecesPerTile; i += kManyThreads) {
      CopyToShared(stage + i * 16, WeightPiece(i / kPiecesPerTile, i % kPiecesPerTile, chunk),
                   IsTile(i / kPiecesPerTile));
    }
    constexpr int kPiecesPerRow = kChunkInputs * 2 / 16;
    for (int i = static_cast<int>(threadIdx.x); i < kBlockRows * kPiecesPerRow; i += kManyThreads) {
      const int64_t row = int64_t{blockIdx.y} * kBlockRows + i / kPiecesPerRow;
      const BFloat16* const from = x_ + (row < rows_ ? row : 0) * m_.in_features +
                                   chunk * kChunkInputs + i % kPiecesPerRow * 8;
      CopyToShared(stage + kWeightBytes + i * 16, from, row < rows_);
    }
  }

  __device__ LoadedTile<kFormat> Tile(int64_t chunk, int tile) const {
    const std::byte* const from = memory_ + chunk % kStages * kStageBytes + tile * kTileBytes;
    LoadedTile<kFormat> loaded;
    if constexpr (kHasScales<kFormat>) {
      loaded.raw = WeightTile<kFormat>::Load(from + Lane() * WeightTile<kFormat>::kLaneBytes);
      const int64_t first = FirstTile() + tile;
      const int64_t at = (first < Tiles() ? first : 0) * m_.chunks() + chunk;
      loaded.scales.Load(m_, at * m_.sub_blocks * kTileRows, Lane());
    } else {
      constexpr int kRowBytes = WeightTile<kFormat>::kRowBytes;
      const std::byte* const low = from + Lane() / 4 * kRowBytes;
      loaded.raw = WeightTile<kFormat>::Load(low, low + 8 * kRowBytes, Lane());
    }
    return loaded;
  }

  __device__ InputTile Inputs(int64_t chunk, int tile) const {
    const auto* const from =
        reinterpret_cast<const BFloat16*>(memory_ + chunk % kStages * kStageBytes + kWeightBytes);
    return LoadInputs<kFormat>(from + (tile * kTileTokens + Lane() / 4) * kChunkInputs, Lane());
  }

 private:
  __device__ int64_t FirstTile() const { return int64_t{blockIdx.x} * kTiles; }
  __device__ int64_t Tiles() const { return (m_.out_features + kTileRows - 1) / kTileRows; }
  __device__ bool IsTile(int tile) const { return FirstTile() + tile < Tiles(); }

  __device__ const std::byte* WeightPiece(int tile, int piece, int64_t chunk) const {
    const int64_t index = IsTile(tile) ? FirstTile() + tile : 0;
    const auto* const data = static_cast<const std::byte*>(m_.data);
    if constexpr (kHasScales<kFormat>) {
      return data + (index * m_.chunks() + chunk) * kTileBytes + piece * 16;
    } else {
      constexpr int kRowBytes = WeightTile<kFormat>::kRowBytes;
      constexpr int kPiecesPerRow = kRowBytes / 16;
      const int64_t output = index * kTileRows + piece / kPiecesPerRow;
      const int64_t last = m_.out_features - 1;
      return data + (output < last ? output : last) * m_.row_stride * (kRowBytes / kChunkInputs) +
             chunk * kRowBytes + piece % kPiecesPerRow * 16;
    }
  }

  std::byte* const memory_;
  const DeviceMatrix& m_;
  const BFloat16* const x_;
  const int64_t rows_;
};

// The sums of a warp's tiles: those of the range that it is in, and those of the ranges before.
struct WarpSums {
  float totals[kWarpTiles][kWarpInputTiles][4];

  // Calls f(output, row, sum, the sum of the same place in `other`).
  template <typename Function>
  __device__ void ForEach(const WarpSums& other, Function f) const {
#pragma unroll
    for (int i = 0; i < kWarpTiles; ++i) {
#pragma unroll
      for (int t = 0; t < kWarpInputTiles; ++t) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          f(int64_t{blockIdx.x} * kBlockOutputs + (Warp() % 2 * kWarpTiles + i) * kTileRows +
                Lane() / 4 + j / 2 * 8,
            int64_t{blockIdx.y} * kBlockRows + (Warp() / 2 * kWarpInputTiles + t) * kTileTokens +
                Lane() % 4 * 2 + j % 2,
            totals[i][t][j], other.totals[i][t][j]);
        }
      }
    }
  }
};

template <WeightFormat kFormat>
__device__ WarpSums SumTiles(const DeviceMatrix& m, const BFloat16* x, int64_t rows) {
  Stages<kFormat> stages(DynamicShared<std::byte>(), m, x, rows);
  const int64_t chunks = m.chunks();
  WarpSums result;
  for (int stage = 0; stage < kStages - 1; ++stage) {
    if (stage < chunks) stages.Fetch(stage);
    EndCopies();
  }
  for (int range = 0; range < kRanges; ++range) {
    float sums[kWarpTiles][kWarpInputTiles][4] = {};
    const int64_t end = RangeBegin(chunks, range + 1);
    for (int64_t chunk = RangeBegin(chunks, range); chunk < end; ++chunk) {
      AwaitCopies<kStages - 2>();
      __syncthreads();  // The chunk is in place, and the stage of the one before is free.
      if (chunk + kStages - 1 < chunks) stages.Fetch(chunk + kStages - 1);
      EndCopies();
      InputTile inputs[kWarpInputTiles];
#pragma unroll
      for (int t = 0; t < kWarpInputTiles; ++t) {
        inputs[t] = stages.Inputs(chunk, Warp() / 2 * kWarpInputTiles + t);
      }
#pragma unroll
      for (int i = 0; i < kWarpTiles; ++i) {
        const ReadyTile<kFormat> tile(stages.Tile(chunk, Warp() % 2 * kWarpTiles + i), m);
#pragma unroll
        for (int t = 0; t < kWarpInputTiles; ++t) {
          tile.Multiply(inputs[t], sums[i][t]);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kWarpTiles; ++i) {
#pragma unroll
      for (int t = 0; t < kWarpInputTiles; ++t) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          result.totals[i][t][j] =
              range == 0 ? sums[i][t][j] : result.totals[i][t][j] + sums[i][t][j];
        }
      }
    }
  }
  __syncthreads();  // Shared memory may be used again.
  return result;
}

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
    Launch(stream, StreamShape(w.out_features), StreamKernel<kFormat, decltype(tiles)::value, Out>,
           x, rows, w, out);
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
    constexpr size_t kBytes = 2 * kRanges * RangeSums<kTiles>::kElements * sizeof(float);
    AllowSharedBytes(GatedStreamKernel<kFormat, kTiles>, kBytes);
    LaunchShape shape = StreamShape(gate.out_features);
    shape.shared_bytes = kBytes;
    Launch(stream, shape, GatedStreamKernel<kFormat, kTiles>, x, rows, gate, up, out);
  });
}

}  // namespace

bool SuitsTensorCores(const DeviceMatrix& w) { return w.in_features % kChunkInputs == 0; }

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

}  // namespace phalanx::kernels::cuda
