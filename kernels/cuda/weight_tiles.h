// Weights as the tensor cores take them: a tile of kTileRows outputs by kChunkInputs inputs, spread
// over the lanes of a warp. Only for kernel sources.
//
// The products are exact in the weights: bfloat16 ones go in as they are; float16 and float32 ones
// as sums of two or three bfloat16 numbers; levels of quantized types, which are whole numbers of
// at most 8 bits, with their scale multiplied onto the sum over each sub-block, in float32.
#ifndef PHALANX_KERNELS_CUDA_WEIGHT_TILES_H_
#define PHALANX_KERNELS_CUDA_WEIGHT_TILES_H_

#include <cstdint>

#include "kernels/cuda/device.h"
#include "kernels/cuda/mma.h"
#include "kernels/cuda/numbers.h"
#include "kernels/cuda/weight_layout.h"

namespace phalanx::kernels::cuda {

// Rows of x that one product of tiles takes.
inline constexpr int kTileTokens = 8;

// One lane's part of kTileTokens rows of x for a chunk, in the order in which the weights of a
// format lie: pairs of bfloat16 numbers, two for each of the chunk's two products.
struct InputTile {
  uint32_t pairs[4];
};

// `row` points at the chunk in the row of x that this lane has, lane / 4.
template <WeightFormat kFormat>
__device__ __forceinline__ InputTile LoadInputs(const BFloat16* row, int lane) {
  InputTile tile;
  const int t = lane % 4;
  if constexpr (kFormat == WeightFormat::kCodes4 || kFormat == WeightFormat::kLevels8) {
    const auto low = *reinterpret_cast<const uint2*>(row + 4 * t);
    const auto high = *reinterpret_cast<const uint2*>(row + 16 + 4 * t);
    tile = {{low.x, low.y, high.x, high.y}};
  } else {
    const auto all = *reinterpret_cast<const uint4*>(row + 8 * t);
    tile = {{all.x, all.y, all.z, all.w}};
  }
  return tile;
}

// One lane's part of a tile as it lies in memory, in pieces of 16 bytes. It takes few registers, so
// a warp may have asked for several before it needs the first.
template <int kPieces>
struct RawTile {
  uint4 pieces[kPieces];
};

// One lane's part of a tile: made by `Unpack` of what was loaded; `Multiply` adds its product with
// inputs.
template <WeightFormat kFormat>
struct WeightTile;

template <>
struct WeightTile<WeightFormat::kBF16> {
  uint4 low;   // Of output lane / 4.
  uint4 high;  // Of output lane / 4 + 8.

  using Raw = RawTile<2>;
  static constexpr int kRowBytes = kChunkInputs * 2;  // Of one output's chunk.

  // From the chunks of this lane's two outputs, lane / 4 and lane / 4 + 8.
  __device__ static Raw Load(const std::byte* low_row, const std::byte* high_row, int lane) {
    return {{*reinterpret_cast<const uint4*>(low_row + lane % 4 * 16),
             *reinterpret_cast<const uint4*>(high_row + lane % 4 * 16)}};
  }
  __device__ void Unpack(const Raw& raw, int zero) {
    low = raw.pieces[0];
    high = raw.pieces[1];
  }
  __device__ void Multiply(const InputTile& x, float (&sums)[4]) const {
    MultiplyTiles({low.x, high.x, low.y, high.y}, {x.pairs[0], x.pairs[1]}, sums);
    MultiplyTiles({low.z, high.z, low.w, high.w}, {x.pairs[2], x.pairs[3]}, sums);
  }
};

// Numbers of more than 8 bits, as sums of kTerms bfloat16 numbers, the largest first.
template <int kTerms>
struct SplitTile {
  uint32_t low[kTerms][4];
  uint32_t high[kTerms][4];

  __device__ void Split(const float (&values)[8], uint32_t (&terms)[kTerms][4]) {
    float rest[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) rest[i] = values[i];
#pragma unroll
    for (int term = 0; term < kTerms; ++term) {
#pragma unroll
      for (int pair = 0; pair < 4; ++pair) {
        const uint32_t packed = PackBFloat16(rest[2 * pair], rest[2 * pair + 1]);
        terms[term][pair] = packed;
        rest[2 * pair] -= __uint_as_float(packed << 16);
        rest[2 * pair + 1] -= __uint_as_float(packed & 0xffff0000);
      }
    }
  }
  __device__ void Multiply(const InputTile& x, float (&sums)[4]) const {
#pragma unroll
    for (int term = 0; term < kTerms; ++term) {
      MultiplyTiles({low[term][0], high[term][0], low[term][1], high[term][1]},
                    {x.pairs[0], x.pairs[1]}, sums);
      MultiplyTiles({low[term][2], high[term][2], low[term][3], high[term][3]},
                    {x.pairs[2], x.pairs[3]}, sums);
    }
  }
};

// The numbers of a piece of memory.
template <typename T, int kCount>
__device__ __forceinline__ void FloatsOf(const uint4* pieces, float (&values)[kCount]) {
  LoadFloats<kCount>(reinterpret_cast<const T*>(pieces), values);
}

template <>
struct WeightTile<WeightFormat::kF16> : SplitTile<2> {
  using Raw = RawTile<2>;
  static constexpr int kRowBytes = kChunkInputs * 2;

  __device__ static Raw Load(const std::byte* low_row, const std::byte* high_row, int lane) {
    return WeightTile<WeightFormat::kBF16>::Load(low_row, high_row, lane);
  }
  __device__ void Unpack(const Raw& raw, int zero) {
    float values[8];
    FloatsOf<Half>(&raw.pieces[0], values);
    Split(values, low);
    FloatsOf<Half>(&raw.pieces[1], values);
    Split(values, high);
  }
};

template <>
struct WeightTile<WeightFormat::kF32> : SplitTile<3> {
  using Raw = RawTile<4>;
  static constexpr int kRowBytes = kChunkInputs * 4;

  __device__ static Raw Load(const std::byte* low_row, const std::byte* high_row, int lane) {
    const auto* const l = reinterpret_cast<const uint4*>(low_row + lane % 4 * 32);
    const auto* const h = reinterpret_cast<const uint4*>(high_row + lane % 4 * 32);
    return {{l[0], l[1], h[0], h[1]}};
  }
  __device__ void Unpack(const Raw& raw, int zero) {
    float values[8];
    FloatsOf<float>(&raw.pieces[0], values);
    Split(values, low);
    FloatsOf<float>(&raw.pieces[2], values);
    Split(values, high);
  }
};

// The scales and minimums of this lane's two outputs in one chunk.
struct TileScales {
  float low[2];  // By sub-block; of one, if there is one.
  float high[2];
  float low_minimum[2];
  float high_minimum[2];

  // `at` is the index of the chunk's first scale, see ScaleIndex.
  __device__ void Load(const DeviceMatrix& m, int64_t at, int lane) {
    const int row = lane / 4;
#pragma unroll
    for (int s = 0; s < 2; ++s) {
      const int64_t from = at + (m.sub_blocks == 2 ? s * kTileRows : 0) + row;
      low[s] = m.scales[from];
      high[s] = m.scales[from + 8];
      low_minimum[s] = m.minimums == nullptr ? 0.0f : m.minimums[from];
      high_minimum[s] = m.minimums == nullptr ? 0.0f : m.minimums[from + 8];
    }
  }
};

// What quantized formats share: levels as pairs of bfloat16 numbers, which hold them exactly.
struct LevelTile {
  uint32_t low[4];
  uint32_t high[4];

  // The sums of a sub-block's inputs for the minimums come from a product with ones.
  __device__ void MultiplyScaled(const InputTile& x, const TileScales& scales, bool has_minimums,
                                 float (&sums)[4]) const {
#pragma unroll
    for (int s = 0; s < 2; ++s) {
      float products[4] = {};
      const uint32_t inputs[2] = {x.pairs[2 * s], x.pairs[2 * s + 1]};
      MultiplyTiles({low[2 * s], high[2 * s], low[2 * s + 1], high[2 * s + 1]}, inputs, products);
      sums[0] = fmaf(scales.low[s], products[0], sums[0]);
      sums[1] = fmaf(scales.low[s], products[1], sums[1]);
      sums[2] = fmaf(scales.high[s], products[2], sums[2]);
      sums[3] = fmaf(scales.high[s], products[3], sums[3]);
      if (!has_minimums) continue;
      constexpr uint32_t kOnes = 0x3f803f80;
      float totals[4] = {};
      MultiplyTiles({kOnes, kOnes, kOnes, kOnes}, inputs, totals);
      sums[0] = fmaf(scales.low_minimum[s], totals[0], sums[0]);
      sums[1] = fmaf(scales.low_minimum[s], totals[1], sums[1]);
      sums[2] = fmaf(scales.high_minimum[s], totals[2], sums[2]);
      sums[3] = fmaf(scales.high_minimum[s], totals[3], sums[3]);
    }
  }
};

// 2^23 + u, for a byte u, has u as its lowest bits; so numbers of a few bits become floats without
// a conversion, which takes four times as long as a sum.
__device__ __forceinline__ float ByteToFloat(uint32_t byte, float zero) {
  return __uint_as_float(0x4b000000 | byte) - (8388608.0f + zero);
}

template <>
struct WeightTile<WeightFormat::kLevels8> : LevelTile {
  using Raw = RawTile<1>;
  static constexpr int kLaneBytes = 16;

  __device__ static Raw Load(const std::byte* lane_data) {
    return {{*reinterpret_cast<const uint4*>(lane_data)}};
  }
  __device__ void Unpack(const Raw& raw, int zero) {
    const uint4& levels = raw.pieces[0];
    const uint32_t words[4] = {levels.x, levels.y, levels.z, levels.w};
#pragma unroll
    for (int word = 0; word < 4; ++word) {
      // Flipping the sign bit adds 128.
      const uint32_t bytes = words[word] ^ 0x80808080;
      uint32_t* const to = word < 2 ? low + 2 * word : high + 2 * (word - 2);
      to[0] =
          PackBFloat16(ByteToFloat(bytes & 0xff, 128.0f), ByteToFloat(bytes >> 8 & 0xff, 128.0f));
      to[1] =
          PackBFloat16(ByteToFloat(bytes >> 16 & 0xff, 128.0f), ByteToFloat(bytes >> 24, 128.0f));
    }
  }
};

template <>
struct WeightTile<WeightFormat::kCodes4> : LevelTile {
  using Raw = uint2;
  static constexpr int kLaneBytes = 8;

  __device__ static Raw Load(const std::byte* lane_data) {
    return *reinterpret_cast<const uint2*>(lane_data);
  }
  __device__ void Unpack(const Raw& raw, int zero) {
    const uint32_t words[2] = {raw.x, raw.y};
    const auto offset = static_cast<float>(zero);
#pragma unroll
    for (int word = 0; word < 2; ++word) {
      uint32_t* const to = word == 0 ? low : high;
#pragma unroll
      for (int pair = 0; pair < 4; ++pair) {
        const uint32_t two = words[word] >> 8 * pair;
        to[pair] = PackBFloat16(ByteToFloat(two & 15, offset), ByteToFloat(two >> 4 & 15, offset));
      }
    }
  }
};

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_WEIGHT_TILES_H_
