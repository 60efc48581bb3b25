#include "kernels/cpu/int8_format.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/cpu/int8_layout.h"
#include "kernels/cpu/packed_values.h"
#include "kernels/dequantize.h"
#include "kernels/quant_block.h"

namespace phalanx::kernels {
namespace {

using int8::kBlockInputs;
using int8::kUnitWords;
using int8::kVectorBytes;

// --- Weights ---

// Stores bits [from_bit, from_bit + kBits) of the codes of a unit in the lane of one output. The
// width is a template argument so that the loops unroll: every weight passes through here at start.
template <int kBits>
void PackPlane(const uint8_t* codes, int from_bit, int lane, std::byte* to) {
  constexpr uint32_t kMask = 0x01010101u * ((1u << kBits) - 1);
  constexpr int kWordsPerVector = 8 / kBits;
#pragma GCC unroll 8
  for (int v = 0; v < kBits; ++v) {
    uint32_t lane_bits = 0;
#pragma GCC unroll 8
    for (int i = 0; i < kWordsPerVector; ++i) {
      uint32_t word;
      std::memcpy(&word, codes + (v * kWordsPerVector + i) * 4, sizeof(word));
      lane_bits |= (word >> from_bit & kMask) << (i * kBits);
    }
    StoreAt(to + v * kVectorBytes, lane, lane_bits);
  }
}

// A plane of 0 bits, the high plane of types that have none, stores nothing.
void PackPlane(int bits, const uint8_t* codes, int from_bit, int lane, std::byte* to) {
  switch (bits) {
    case 1:
      return PackPlane<1>(codes, from_bit, lane, to);
    case 2:
      return PackPlane<2>(codes, from_bit, lane, to);
    case 4:
      return PackPlane<4>(codes, from_bit, lane, to);
    case 8:
      return PackPlane<8>(codes, from_bit, lane, to);
  }
}

// Adds a plane to the codes of a unit of one output; the inverse of PackPlane.
void UnpackPlane(int bits, const std::byte* from, int to_bit, int lane, uint8_t* codes) {
  if (bits == 0) return;
  const uint32_t mask = 0x01010101u * ((1u << bits) - 1);
  for (int w = 0; w < kUnitWords; ++w) {
    const auto lane_bits = LoadAt<uint32_t>(from + w * bits / 8 * kVectorBytes, lane);
    const uint32_t fields = (lane_bits >> (w * bits % 8)) & mask;
    for (int i = 0; i < 4; ++i) {
      codes[w * 4 + i] |= static_cast<uint8_t>((fields >> (8 * i) & 0xff) << to_bit);
    }
  }
}

void PackScales(DType dtype, const QuantBlock& block, int lane, std::byte* to) {
  StoreAt(to, lane, block.d);
  to += int8::kGroupRows * sizeof(uint16_t);
  if (HasMinimum(dtype)) {
    StoreAt(to, lane, block.m);
    to += int8::kGroupRows * sizeof(uint16_t);
  }
  const int sub_blocks = int8::SubBlocks(dtype);
  if (sub_blocks == 1) return;
  for (int s = 0; s < sub_blocks; ++s) {
    const int at = s * int8::kGroupRows + lane;
    if (dtype == DType::kQ2_K) {
      StoreAt(to, at, static_cast<uint8_t>(block.scales[s] | block.minimums[s] << 4));
    } else {
      StoreAt(to, at, block.scales[s]);
      if (HasMinimum(dtype)) {
        StoreAt(to, at + sub_blocks * int8::kGroupRows, block.minimums[s]);
      }
    }
  }
}

// The inverse of PackScales.
void UnpackScales(DType dtype, const std::byte* from, int lane, QuantBlock& block) {
  block.d = LoadAt<uint16_t>(from, lane);
  from += int8::kGroupRows * sizeof(uint16_t);
  if (HasMinimum(dtype)) {
    block.m = LoadAt<uint16_t>(from, lane);
    from += int8::kGroupRows * sizeof(uint16_t);
  }
  block.scales.fill(1);
  block.minimums.fill(1);
  const int sub_blocks = int8::SubBlocks(dtype);
  if (sub_blocks == 1) return;
  for (int s = 0; s < sub_blocks; ++s) {
    const int at = s * int8::kGroupRows + lane;
    if (dtype == DType::kQ2_K) {
      const auto both = LoadAt<uint8_t>(from, at);
      block.scales[s] = static_cast<int8_t>(both & 15);
      block.minimums[s] = both >> 4;
    } else {
      block.scales[s] = LoadAt<int8_t>(from, at);
      if (HasMinimum(dtype)) {
        block.minimums[s] = LoadAt<uint8_t>(from, at + sub_blocks * int8::kGroupRows);
      }
    }
  }
}

// One output of a group, with its place in it.
struct Lane {
  DType dtype;
  int64_t in_features;
  int lane;

  size_t CodesOffset(int64_t block) const {
    return block * int8::UnitsPerBlock(dtype) * int8::UnitBytes(dtype);
  }
  size_t ScalesOffset(int64_t block) const {
    return int8::CodeBytes(dtype, in_features) + block * int8::ScaleBytes(dtype);
  }
};

void PackBlock(const Lane& at, int64_t b, const QuantBlock& block, std::byte* group) {
  PackScales(at.dtype, block, at.lane, group + at.ScalesOffset(b));
  std::byte* to = group + at.CodesOffset(b);
  const int low_bits = int8::LowBits(at.dtype);
  for (int k = 0; k < BlockElements(at.dtype); k += kBlockInputs) {
    PackPlane(low_bits, &block.codes[k], 0, at.lane, to);
    PackPlane(int8::HighBits(at.dtype), &block.codes[k], low_bits, at.lane,
              to + low_bits * kVectorBytes);
    to += int8::UnitBytes(at.dtype);
  }
}

QuantBlock UnpackBlock(const Lane& at, int64_t b, const std::byte* group) {
  QuantBlock block;
  UnpackScales(at.dtype, group + at.ScalesOffset(b), at.lane, block);
  const std::byte* from = group + at.CodesOffset(b);
  const int low_bits = int8::LowBits(at.dtype);
  for (int k = 0; k < BlockElements(at.dtype); k += kBlockInputs) {
    UnpackPlane(low_bits, from, 0, at.lane, &block.codes[k]);
    UnpackPlane(int8::HighBits(at.dtype), from + low_bits * kVectorBytes, low_bits, at.lane,
                &block.codes[k]);
    from += int8::UnitBytes(at.dtype);
  }
  return block;
}

// --- Inputs ---

// Stores what the zero or the minimum of a type makes of the sums of block i, which lies at `at`
// among the blocks of `rows` rows.
void StoreSums(DType dtype, const int8::QuantizedBlocks& blocks, int i, int64_t at, int64_t rows,
               std::byte* to) {
  const auto store = [&](int64_t index, int32_t sum) {
    if (HasMinimum(dtype)) {
      StoreAt(to, index, blocks.scales[i] * static_cast<float>(sum));
    } else {
      StoreAt(to, index, -int8::ZeroOf(dtype) * sum);
    }
  };
  const int32_t(&halves)[2] = blocks.sums[i];
  if (SubBlockElements(dtype) == kBlockInputs) {
    store(at, halves[0] + halves[1]);
    return;
  }
  const int64_t row = at % rows;
  const int64_t first = (at - row) * 2 + row;
  store(first, halves[0]);
  store(first + rows, halves[1]);
}

}  // namespace

int Int8Format::group_rows() const { return int8::kGroupRows; }

size_t Int8Format::GroupBytes(DType dtype, int64_t in_features) const {
  return int8::GroupBytes(dtype, in_features);
}

void Int8Format::Pack(const PackedMatrix& matrix, absl::Span<const std::byte* const> rows,
                      int64_t group_begin, int64_t group_end, std::byte* data) const {
  const DType dtype = matrix.dtype;
  const size_t group_bytes = int8::GroupBytes(dtype, matrix.in_features);
  const int64_t blocks = matrix.in_features / BlockElements(dtype);
  const int64_t row_end = std::min(group_end * int8::kGroupRows, matrix.out_features);
  for (int64_t row = group_begin * int8::kGroupRows; row < row_end; ++row) {
    const Lane at = {dtype, matrix.in_features, static_cast<int>(row % int8::kGroupRows)};
    std::byte* const group = data + row / int8::kGroupRows * group_bytes;
    for (int64_t b = 0; b < blocks; ++b) {
      PackBlock(at, b, ReadQuantBlock(dtype, rows[row] + b * BlockBytes(dtype)), group);
    }
  }
}

void Int8Format::UnpackRow(const PackedMatrix& matrix, int64_t row, float* out) const {
  const DType dtype = matrix.dtype;
  const Lane at = {dtype, matrix.in_features, static_cast<int>(row % int8::kGroupRows)};
  const std::byte* const group =
      matrix.data + row / int8::kGroupRows * int8::GroupBytes(dtype, matrix.in_features);
  const int sub_block = SubBlockElements(dtype);
  for (int64_t b = 0; b < matrix.in_features / BlockElements(dtype); ++b) {
    const QuantBlock block = UnpackBlock(at, b, group);
    for (int k = 0; k < BlockElements(dtype); ++k) {
      const int s = k / sub_block;
      const float d = HalfToFloat(block.d) * static_cast<float>(block.scales[s]);
      const float m = HalfToFloat(block.m) * static_cast<float>(block.minimums[s]);
      *out++ = d * static_cast<float>(QuantLevel(dtype, block.codes[k])) + m;
    }
  }
}

size_t Int8Format::PreparedBytes(int64_t rows, int64_t in_features) const {
  return int8::TileLayout{in_features, 16}.row_bytes() * static_cast<size_t>(rows);
}

int64_t Int8Format::PrepareParts(int64_t rows) const {
  return int8::Tiles(rows, kernels_.tile_rows);
}

void Int8Format::Prepare(const LinearTask& task, int64_t begin, int64_t end, std::byte* to) const {
  const DType dtype = task.weights->dtype;
  const int64_t in_features = task.weights->in_features;
  const int64_t blocks = in_features / kBlockInputs;
  const int8::TileLayout layout = {in_features, SubBlockElements(dtype), kernels_.tile_rows};
  for (int64_t tile = begin; tile < end; ++tile) {
    const int64_t n = int8::TileRows(task.rows, tile, kernels_.tile_rows);
    std::byte* const data = to + layout.TileOffset(tile);
    auto* const levels = reinterpret_cast<int8_t*>(data);
    std::byte* const scales = data + layout.ScalesOffset(n);
    std::byte* const sums = data + layout.SumsOffset(n);
    for (int64_t r = 0; r < n; ++r) {
      const float* const x = task.x + (tile * kernels_.tile_rows + r) * in_features;
      for (int64_t first = 0; first < blocks; first += int8::kMostBlocks) {
        const int count = static_cast<int>(std::min<int64_t>(int8::kMostBlocks, blocks - first));
        int8::QuantizedBlocks quantized;
        kernels_.quantize(x + first * kBlockInputs, count, levels + (first * n + r) * kBlockInputs,
                          n * kBlockInputs, quantized);
        for (int i = 0; i < count; ++i) {
          const int64_t at = (first + i) * n + r;
          StoreAt(scales, at, quantized.scales[i]);
          StoreSums(dtype, quantized, i, at, n, sums);
        }
      }
    }
  }
}

}  // namespace phalanx::kernels
