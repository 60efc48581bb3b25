// What products on the tensor cores are made of: tiles of weights with their scales, and tiles on
// their way through shared memory. Only for tensor_core_linear.cu.cc.
#ifndef PHALANX_KERNELS_CUDA_LINEAR_TILES_H_
#define PHALANX_KERNELS_CUDA_LINEAR_TILES_H_

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/device.h"
#include "kernels/cuda/mma.h"
#include "kernels/cuda/numbers.h"
#include "kernels/cuda/tensor_core_linear.h"
#include "kernels/cuda/weight_tiles.h"

namespace phalanx::kernels::cuda::linear {

template <WeightFormat kFormat>
inline constexpr bool kHasScales =
    kFormat == WeightFormat::kCodes4 || kFormat == WeightFormat::kLevels8;

__device__ __forceinline__ int Lane() { return static_cast<int>(threadIdx.x % kWarpSize); }
__device__ __forceinline__ int Warp() { return static_cast<int>(threadIdx.x / kWarpSize); }

__device__ __forceinline__ int64_t RangeBegin(int64_t chunks, int range) {
  return chunks * range / kRanges;
}

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

// A block has kBlockOutputs outputs and kBlockRows rows; its warps share them out, 2 by 4.
inline constexpr int kBlockOutputs = 64;
inline constexpr int kBlockRows = 128;
inline constexpr int kManyThreads = 256;
inline constexpr int kWarpTiles = 2;       // Tiles of outputs of a warp.
inline constexpr int kWarpInputTiles = 4;  // Tiles of rows of a warp.
inline constexpr int kStages = 4;

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

}  // namespace phalanx::kernels::cuda::linear

#endif  // PHALANX_KERNELS_CUDA_LINEAR_TILES_H_
