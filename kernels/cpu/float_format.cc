#include "kernels/cpu/float_format.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/cpu/packed_values.h"
#include "kernels/dequantize.h"

namespace phalanx::kernels {
namespace {

// Bytes of a word row. One bit of all codes of a unit takes as many: 8 outputs x 32 inputs.
constexpr size_t kRowBytes = kGroupRows * sizeof(uint32_t);

// Stores bits [from_bit, from_bit + kBits) of the codes of a unit in the words of one output. The
// width is a template argument so that the loops unroll: every weight passes through here
// at start.
template <int kBits>
void PackPlane(const uint8_t* codes, int from_bit, int lane, std::byte* words) {
  constexpr uint32_t kMask = (1u << kBits) - 1;
#pragma GCC unroll 8
  for (int i = 0; i < kBits; ++i) {
    uint32_t word = 0;
#pragma GCC unroll 32
    for (int p = 0; p < kUnitInputs / kBits; ++p) {
      word |= (codes[p * kBits + i] >> from_bit & kMask) << (kBits * p);
    }
    StoreAt(words, i * kGroupRows + lane, word);
  }
}

// A plane of 0 bits, the high plane of types that have none, stores nothing.
void PackPlane(int bits, const uint8_t* codes, int from_bit, int lane, std::byte* words) {
  switch (bits) {
    case 1:
      return PackPlane<1>(codes, from_bit, lane, words);
    case 2:
      return PackPlane<2>(codes, from_bit, lane, words);
    case 4:
      return PackPlane<4>(codes, from_bit, lane, words);
    case 8:
      return PackPlane<8>(codes, from_bit, lane, words);
  }
}

// d is kept in f16 beside an m in f16, and widened to f32 where it is alone: either way they take
// 32 bytes, one vector.
void PackScales(DType dtype, const QuantBlock& block, int lane, std::byte* to) {
  if (HasMinimum(dtype)) {
    StoreAt(to, lane, block.d);
    StoreAt(to, kGroupRows + lane, block.m);
  } else {
    StoreAt(to, lane, HalfToFloat(block.d));
  }
  const int sub_blocks = BlockElements(dtype) / SubBlockElements(dtype);
  if (sub_blocks == 1) return;
  for (int s = 0; s < sub_blocks; ++s) {
    const int at = 32 + s * kGroupRows + lane;
    if (dtype == DType::kQ2_K) {
      StoreAt(to, at, static_cast<uint8_t>(block.scales[s] | block.minimums[s] << 4));
    } else {
      StoreAt(to, at, block.scales[s]);
      if (HasMinimum(dtype)) StoreAt(to, at + sub_blocks * kGroupRows, block.minimums[s]);
    }
  }
}

// Puts one block of one output into its lane of a packed block.
void PackBlock(DType dtype, const std::byte* from, int lane, std::byte* to) {
  if (dtype == DType::kF32) return StoreAt(to, lane, LoadAt<float>(from, 0));
  if (!IsQuantized(dtype)) return StoreAt(to, lane, LoadAt<uint16_t>(from, 0));
  const QuantBlock block = ReadQuantBlock(dtype, from);
  PackScales(dtype, block, lane, to);
  to += PackedScaleBytes(dtype);
  const int low_bits = LowPlaneBits(dtype);
  for (int k = 0; k < BlockElements(dtype); k += kUnitInputs) {
    PackPlane(low_bits, &block.codes[k], 0, lane, to);
    PackPlane(HighPlaneBits(dtype), &block.codes[k], low_bits, lane, to + low_bits * kRowBytes);
    to += CodeBits(dtype) * kRowBytes;
  }
}

// Scale and minimum of one output in one sub-block of a packed block: weight = d * level + m.
struct Scale {
  float d;
  float m;
};
// In types without a minimum m is -0.0, which changes no sum: x + -0.0 is x for every x, -0.0 too.
Scale LoadScale(DType dtype, const std::byte* block, int s, int lane) {
  Scale scale = HasMinimum(dtype) ? Scale{HalfToFloat(LoadAt<uint16_t>(block, lane)),
                                          HalfToFloat(LoadAt<uint16_t>(block, kGroupRows + lane))}
                                  : Scale{LoadAt<float>(block, lane), -0.0f};
  const int sub_blocks = BlockElements(dtype) / SubBlockElements(dtype);
  if (sub_blocks == 1) return scale;
  const int at = 32 + s * kGroupRows + lane;
  if (dtype == DType::kQ2_K) {
    const auto both = LoadAt<uint8_t>(block, at);
    return {scale.d * static_cast<float>(both & 15), scale.m * static_cast<float>(both >> 4)};
  }
  scale.d *= static_cast<float>(LoadAt<int8_t>(block, at));
  if (HasMinimum(dtype)) {
    scale.m *= static_cast<float>(LoadAt<uint8_t>(block, at + sub_blocks * kGroupRows));
  }
  return scale;
}

// Adds a plane to the codes of one output of a unit; the inverse of PackPlane.
void UnpackPlane(int bits, const std::byte* words, int to_bit, int lane, uint8_t* codes) {
  for (int i = 0; i < bits; ++i) {
    uint32_t word = LoadAt<uint32_t>(words, i * kGroupRows + lane);
    for (int p = 0; p < kUnitInputs / bits; ++p, word >>= bits) {
      codes[p * bits + i] |= static_cast<uint8_t>((word & ((1u << bits) - 1)) << to_bit);
    }
  }
}

// Writes the weights of one output in a packed block to out[0], out[stride], ...
void UnpackQuantBlock(DType dtype, const std::byte* block, int lane, int64_t stride, float* out) {
  const std::byte* words = block + PackedScaleBytes(dtype);
  const int low_bits = LowPlaneBits(dtype);
  const int sub_block = SubBlockElements(dtype);
  for (int first = 0; first < BlockElements(dtype); first += kUnitInputs) {
    std::array<uint8_t, kUnitInputs> codes = {};
    UnpackPlane(low_bits, words, 0, lane, codes.data());
    UnpackPlane(HighPlaneBits(dtype), words + low_bits * kRowBytes, low_bits, lane, codes.data());
    words += CodeBits(dtype) * kRowBytes;
    for (int begin = 0; begin < kUnitInputs; begin += sub_block) {
      const Scale scale = LoadScale(dtype, block, (first + begin) / sub_block, lane);
      for (int k = begin; k < begin + sub_block; ++k) {
        const auto level = static_cast<float>(QuantLevel(dtype, codes[k]));
        out[(first + k) * stride] = scale.d * level + scale.m;
      }
    }
  }
}

void UnpackBlock(DType dtype, const std::byte* block, int lane, int64_t stride, float* out) {
  switch (dtype) {
    case DType::kF32:
      *out = LoadAt<float>(block, lane);
      return;
    case DType::kF16:
      *out = HalfToFloat(LoadAt<uint16_t>(block, lane));
      return;
    case DType::kBF16:
      *out = BFloat16ToFloat(LoadAt<uint16_t>(block, lane));
      return;
    default:
      return UnpackQuantBlock(dtype, block, lane, stride, out);
  }
}

const std::byte* BlockAt(const PackedMatrix& matrix, int64_t group, int64_t input) {
  return matrix.data + group * FloatGroupBytes(matrix.dtype, matrix.in_features) +
         input / BlockElements(matrix.dtype) * PackedBlockBytes(matrix.dtype);
}

}  // namespace

void FloatFormat::Pack(const PackedMatrix& matrix, absl::Span<const std::byte* const> rows,
                       int64_t group_begin, int64_t group_end, std::byte* data) const {
  const int64_t blocks = matrix.in_features / BlockElements(matrix.dtype);
  const int64_t row_end = std::min(group_end * kGroupRows, matrix.out_features);
  for (int64_t row = group_begin * kGroupRows; row < row_end; ++row) {
    std::byte* to = data + row / kGroupRows * FloatGroupBytes(matrix.dtype, matrix.in_features);
    for (int64_t b = 0; b < blocks; ++b) {
      PackBlock(matrix.dtype, rows[row] + b * BlockBytes(matrix.dtype),
                static_cast<int>(row % kGroupRows), to + b * PackedBlockBytes(matrix.dtype));
    }
  }
}

void UnpackGroup(const PackedMatrix& matrix, int64_t group, int64_t begin, int64_t end,
                 float* out) {
  const int step = BlockElements(matrix.dtype);
  for (int64_t k = begin; k < end; k += step) {
    const std::byte* block = BlockAt(matrix, group, k);
    for (int lane = 0; lane < kGroupRows; ++lane) {
      UnpackBlock(matrix.dtype, block, lane, kGroupRows, out + (k - begin) * kGroupRows + lane);
    }
  }
}

void FloatFormat::UnpackRow(const PackedMatrix& matrix, int64_t row, float* out) const {
  const int step = BlockElements(matrix.dtype);
  for (int64_t k = 0; k < matrix.in_features; k += step) {
    UnpackBlock(matrix.dtype, BlockAt(matrix, row / kGroupRows, k),
                static_cast<int>(row % kGroupRows), 1, out + k);
  }
}

}  // namespace phalanx::kernels
