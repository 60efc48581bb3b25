// Products of 8-bit integers with quantized weights: the arithmetic, and how weights and inputs lie
// for it. What is said here holds for all instructions, so that these give the same bits.
//
// The arithmetic. Inputs are quantized in blocks of 32: a block x has the scale
//   s = max|x| / 127, and the levels q[k] = x[k] * (127 / max|x|), rounded to the nearest integer,
// halves to the even one. If max|x| is below kLeastMaximum, s and all q are zero; if an x of the
// block is infinite or NaN, s is NaN, and so is every output of the row. A weight of sub-block j is
// D[j] * (code - zero) + M[j], see QuantBlock, with D and M exact in float32. An output starts at 0
// and takes the sub-blocks in ascending order:
//   output = fma(float(dot), D[j] * s, output), dot = the sum of (code - zero) * q, an integer;
//   and for types with a minimum then output = fma(M[j], s * float(sum of q), output);
// at last the bias is added. Portable kernels may round the products of these two fma apart.
//
// Source of the scheme: ggml's block_q8_1 and ggml_vec_dot_q4_1_q8_1 in ggml-org/llama.cpp.
#ifndef PHALANX_KERNELS_CPU_INT8_LAYOUT_H_
#define PHALANX_KERNELS_CPU_INT8_LAYOUT_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/dtype.h"
#include "kernels/quant_block.h"

namespace phalanx::kernels::int8 {

// --- Weights ---

// Outputs in a group: the 32-bit lanes of a 512-bit vector.
inline constexpr int kGroupRows = 16;

// Inputs of a block of inputs, and of a unit of weights.
inline constexpr int kBlockInputs = 32;

// A word has the codes of four successive inputs of one output, a byte each, the first one lowest:
// what one lane of a dot product of bytes takes. A unit has kUnitWords words for each output.
inline constexpr int kUnitWords = kBlockInputs / 4;

// The codes of a word are cut into two planes as in a file of the K types: the low 2, 4 or 8 bits,
// and the 0, 1 or 2 bits above these.
constexpr int LowBits(DType dtype) {
  const int bits = CodeBits(dtype);
  return bits >= 8 ? 8 : bits >= 4 ? 4 : 2;
}
constexpr int HighBits(DType dtype) { return CodeBits(dtype) - LowBits(dtype); }

// A plane of b bits is b vectors of 16 lanes, u32, a lane for each output. The bits of word w stand
// in vector w * b / 8, shifted up by w * b % 8 in each byte.
inline constexpr size_t kVectorBytes = 64;
constexpr size_t UnitBytes(DType dtype) { return kVectorBytes * CodeBits(dtype); }

constexpr int UnitsPerBlock(DType dtype) { return BlockElements(dtype) / kBlockInputs; }
constexpr int SubBlocks(DType dtype) { return BlockElements(dtype) / SubBlockElements(dtype); }

// What the codes stand for: level = code - zero. Levels of kIQ4_NL come out of a table, to which
// 128 is added so that its entries are unsigned like codes.
constexpr int ZeroOf(DType dtype) { return dtype == DType::kIQ4_NL ? 128 : CodeOfZero(dtype); }

// Scales of one block of 16 outputs: f16 d[16]; f16 m[16] in types with a minimum; then, in the K
// types, i8 scales[16] for each sub-block, and in kQ4_K and kQ5_K u8 minimums[16] for each. kQ2_K
// has its minimums in the high nibbles of its scales.
constexpr size_t ScaleBytes(DType dtype) {
  const size_t floats = HasMinimum(dtype) ? 64 : 32;
  if (SubBlocks(dtype) == 1) return floats;
  const bool own_minimums = HasMinimum(dtype) && dtype != DType::kQ2_K;
  return floats + static_cast<size_t>(SubBlocks(dtype)) * kGroupRows * (own_minimums ? 2 : 1);
}

// A group is the units of all inputs, each its low plane and then its high plane, and behind these
// the scales of all blocks.
constexpr size_t CodeBytes(DType dtype, int64_t in_features) {
  return static_cast<size_t>(in_features / kBlockInputs) * UnitBytes(dtype);
}
constexpr size_t GroupBytes(DType dtype, int64_t in_features) {
  const size_t scales = static_cast<size_t>(in_features / BlockElements(dtype)) * ScaleBytes(dtype);
  return CodeBytes(dtype, in_features) + (scales + 63) / 64 * 64;
}

// While the last rows of a task are multiplied with some groups, the weights of the groups after
// these are read ahead: what hardware reads ahead ends with each page, and a group of few inputs is
// little more than one. Weights further ahead than this would drive others out of the second-level
// cache.
inline constexpr size_t kMostBytesAhead = size_t{256} << 10;

// Bytes from a weight to the one to read ahead for it, as many groups on as that allows, at most
// `most_groups`; 0 if not even `least_groups` are near enough.
constexpr size_t BytesAhead(DType dtype, int64_t in_features, int least_groups, int most_groups) {
  const size_t group_bytes = GroupBytes(dtype, in_features);
  const auto groups =
      static_cast<int>(std::min<size_t>(kMostBytesAhead / group_bytes, most_groups));
  return groups < least_groups ? 0 : groups * group_bytes;
}

// Has the processor bring some bytes into its second-level cache; any address will do.
__attribute__((always_inline)) inline void ReadAhead(const std::byte* from, size_t bytes) {
  for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(from + i, /*rw=*/0, /*locality=*/2);
}

// Calls f(type) with `dtype` as a constant, std::integral_constant<DType, ...>; does nothing for
// floats, which are not of this format.
template <typename Function>
void WithQuantizedType(DType dtype, Function f) {
  switch (dtype) {
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
      return;
    case DType::kQ4_0:
      return f(std::integral_constant<DType, DType::kQ4_0>());
    case DType::kQ4_1:
      return f(std::integral_constant<DType, DType::kQ4_1>());
    case DType::kQ5_0:
      return f(std::integral_constant<DType, DType::kQ5_0>());
    case DType::kQ5_1:
      return f(std::integral_constant<DType, DType::kQ5_1>());
    case DType::kQ8_0:
      return f(std::integral_constant<DType, DType::kQ8_0>());
    case DType::kQ2_K:
      return f(std::integral_constant<DType, DType::kQ2_K>());
    case DType::kQ3_K:
      return f(std::integral_constant<DType, DType::kQ3_K>());
    case DType::kQ4_K:
      return f(std::integral_constant<DType, DType::kQ4_K>());
    case DType::kQ5_K:
      return f(std::integral_constant<DType, DType::kQ5_K>());
    case DType::kQ6_K:
      return f(std::integral_constant<DType, DType::kQ6_K>());
    case DType::kIQ4_NL:
      return f(std::integral_constant<DType, DType::kIQ4_NL>());
  }
}

// --- Inputs ---

// Below this, 127 / max|x| would not be a number of float32.
inline constexpr float kLeastMaximum = 0x1p-100f;

// Rows come in tiles of kTileRows, or of as many as suit the instructions (Int8Format::Kernels);
// the last tile has as many as are left. A tile of n rows is
//   i8  levels[in_features / 32][n][32]
//   f32 scales[in_features / 32][n]
//   and what the zero or the minimum of the weights' type makes of the sums of levels, for each
//   sub-block: i32 -zero * sum, or f32 s * sum, [in_features / SubBlockElements][n].
inline constexpr int kTileRows = 8;

// What some successive blocks of a row become, besides their levels.
inline constexpr int kMostBlocks = 8;
struct QuantizedBlocks {
  float scales[kMostBlocks];
  int32_t sums[kMostBlocks][2];  // Of the levels of each half of a block.
};

struct TileLayout {
  int64_t in_features;
  int sub_block;  // SubBlockElements, 16 or 32.
  int64_t tile_rows = kTileRows;

  constexpr size_t row_bytes() const {
    return static_cast<size_t>(in_features) + in_features / kBlockInputs * sizeof(float) +
           in_features / sub_block * sizeof(float);
  }
  // Of a tile of any size, behind full ones.
  constexpr size_t TileOffset(int64_t tile) const { return tile * tile_rows * row_bytes(); }
  // In a tile of n rows.
  constexpr size_t ScalesOffset(int64_t n) const { return static_cast<size_t>(n * in_features); }
  constexpr size_t SumsOffset(int64_t n) const {
    return ScalesOffset(n) + n * in_features / kBlockInputs * sizeof(float);
  }
};

constexpr int64_t Tiles(int64_t rows, int64_t tile_rows = kTileRows) {
  return (rows + tile_rows - 1) / tile_rows;
}
constexpr int64_t TileRows(int64_t rows, int64_t tile, int64_t tile_rows = kTileRows) {
  return std::min(tile_rows, rows - tile * tile_rows);
}

}  // namespace phalanx::kernels::int8

#endif  // PHALANX_KERNELS_CPU_INT8_LAYOUT_H_
