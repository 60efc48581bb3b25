// Products of bfloat16: the arithmetic, and how weights and inputs lie for it.
//
// The arithmetic. Inputs and weights are rounded to bfloat16, to the nearest, to even in the middle
// between two; weights of type kBF16 stay what they are, and those of quantized types are first
// brought to float32, as Dequantize does it. Products of two such numbers are exact in float32. A
// row of inputs is filled up with zeros to whole blocks of kBlockInputs. An output starts at 0 and
// takes the inputs in pairs, in ascending order, of each pair the second input first:
//   output = output + x[2p + 1] * w[2p + 1], rounded to float32,
//   output = output + x[2p] * w[2p], rounded to float32;
// at last the bias is added. That is what vdpbf16ps does (AVX512_BF16; "Intel 64 and IA-32
// Architectures Software Developer's Manual", volume 2; AMD's Zen 5 was seen to give the same bits,
// which bf16_linear_test.cc checks). So the portable kernels, those of AVX2 and those of
// AVX512_BF16 give the same bits, with one exception: vdpbf16ps takes subnormal numbers for zeros,
// as factors and as sums, and gives none; the others keep them.
//
// AMX's tiles (tdpbf16ps) add up in another order, and that manual and Intel's guide of intrinsics
// do not agree in which. So nothing else has their bits for certain, and tiles multiply any number
// of rows, a single one too.
//
// Each of these is fixed for a level of instructions, so what a row gives does not depend on the
// other rows, on how they are cut into steps, or on the number of threads.
#ifndef PHALANX_KERNELS_CPU_BF16_LAYOUT_H_
#define PHALANX_KERNELS_CPU_BF16_LAYOUT_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/cpu/int8_layout.h"
#include "kernels/dtype.h"

namespace phalanx::kernels::bf16 {

// Inputs of a block: rows of weights and of inputs are filled up to whole blocks.
inline constexpr int kBlockInputs = 32;
constexpr int64_t Blocks(int64_t in_features) {
  return (in_features + kBlockInputs - 1) / kBlockInputs;
}

// --- Weights ---

// Outputs in a group: the 32-bit lanes of a 512-bit vector, and the columns of a tile.
inline constexpr int kGroupRows = 16;
static_assert(kGroupRows == int8::kGroupRows && kBlockInputs == int8::kBlockInputs);

// A pair is the weights of two successive inputs of one output, the first one in the lower half of
// 32 bits. A vector has a pair for each output of a group.
inline constexpr size_t kVectorBytes = 64;
inline constexpr int kBlockPairs = kBlockInputs / 2;
inline constexpr size_t kBlockBytes = kBlockPairs * kVectorBytes;

// Float types are rounded when they are packed: a group is u32 pairs[in_features / 2][16], filled
// up to whole blocks. Quantized types lie as int8_layout.h says, and become pairs while they are
// multiplied: kept as bfloat16 they would take two to eight times the memory, and a step of few
// rows waits for memory.
constexpr size_t GroupBytes(DType dtype, int64_t in_features) {
  if (IsQuantized(dtype)) return int8::GroupBytes(dtype, in_features);
  return static_cast<size_t>(Blocks(in_features)) * kBlockBytes;
}

// --- Inputs ---

// Bytes of a block of inputs of one row.
inline constexpr int64_t kRowBytes = kBlockInputs * 2;

// Rows come in tiles of as many as suit the instructions (Bf16Format::Kernels); the last tile has
// as many as are left. A tile of n rows is u16 inputs[blocks][n][kBlockInputs].
struct TileLayout {
  int64_t in_features;
  int64_t tile_rows;

  constexpr int64_t Tiles(int64_t rows) const { return (rows + tile_rows - 1) / tile_rows; }
  constexpr int64_t TileRows(int64_t rows, int64_t tile) const {
    return std::min(tile_rows, rows - tile * tile_rows);
  }
  // Of a tile of any size, behind full ones.
  constexpr size_t TileOffset(int64_t tile) const {
    return static_cast<size_t>(tile * tile_rows * Blocks(in_features) * kRowBytes);
  }
};

}  // namespace phalanx::kernels::bf16

#endif  // PHALANX_KERNELS_CPU_BF16_LAYOUT_H_
