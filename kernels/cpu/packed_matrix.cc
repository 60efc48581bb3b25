#include "kernels/cpu/packed_matrix.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/dequantize.h"

namespace phalanx::kernels {
namespace {

constexpr size_t kScaleBytes = 32;

template <typename T>
T LoadAt(const std::byte* from, int64_t index) {
  T value;
  std::memcpy(&value, from + index * sizeof(T), sizeof(T));
  return value;
}

template <typename T>
void StoreAt(std::byte* to, int64_t index, T value) {
  std::memcpy(to + index * sizeof(T), &value, sizeof(T));
}

int QuantBits(DType dtype) { return dtype == DType::kQ8_0 ? 8 : 4; }

// The quants of a block in file order, as they are stored here.
using Quants = std::array<uint8_t, 32>;
Quants LoadQuants(DType dtype, const std::byte* from) {
  Quants quants;
  if (dtype == DType::kQ8_0) {
    for (int k = 0; k < 32; ++k) quants[k] = std::to_integer<uint8_t>(from[k] ^ std::byte{0x80});
  } else {
    for (int j = 0; j < 16; ++j) {
      quants[j] = std::to_integer<uint8_t>(from[j] & std::byte{15});
      quants[j + 16] = std::to_integer<uint8_t>(from[j] >> 4);
    }
  }
  return quants;
}

// Stores the kBits words of one output.
template <int kBits>
void PackWords(const Quants& quants, int lane, std::byte* words) {
#pragma GCC unroll 8
  for (int i = 0; i < kBits; ++i) {
    uint32_t word = 0;
#pragma GCC unroll 8
    for (int p = 0; p < 32 / kBits; ++p) word |= uint32_t{quants[p * kBits + i]} << (kBits * p);
    StoreAt(words, i * kGroupRows + lane, word);
  }
}

// Puts one block of one output into its lane of a packed block.
void PackBlock(DType dtype, const std::byte* from, int lane, std::byte* to) {
  switch (dtype) {
    case DType::kF32:
      StoreAt(to, lane, LoadAt<float>(from, 0));
      return;
    case DType::kF16:
    case DType::kBF16:
      StoreAt(to, lane, LoadAt<uint16_t>(from, 0));
      return;
    case DType::kQ4_1:
      StoreAt(to, lane, LoadAt<uint16_t>(from, 0));
      StoreAt(to, kGroupRows + lane, LoadAt<uint16_t>(from, 1));
      from += 4;
      break;
    case DType::kQ4_0:
    case DType::kQ8_0:
      StoreAt(to, lane, HalfToFloat(LoadAt<uint16_t>(from, 0)));
      from += 2;
      break;
    default:
      return;
  }
  const Quants quants = LoadQuants(dtype, from);
  if (dtype == DType::kQ8_0) {
    PackWords<8>(quants, lane, to + kScaleBytes);
  } else {
    PackWords<4>(quants, lane, to + kScaleBytes);
  }
}

// Scale and minimum of one output in a packed block of quants: the weight is d * quant + m. For
// kQ4_0 and kQ8_0 both terms and the sum are exact, so the offset may as well be taken here.
struct Scale {
  float d;
  float m;
};
Scale LoadScale(DType dtype, const std::byte* block, int lane) {
  if (dtype == DType::kQ4_1) {
    return {HalfToFloat(LoadAt<uint16_t>(block, lane)),
            HalfToFloat(LoadAt<uint16_t>(block, kGroupRows + lane))};
  }
  const float d = LoadAt<float>(block, lane);
  return {d, dtype == DType::kQ4_0 ? -8.0f * d : -128.0f * d};
}

// Writes the weights of one output in a packed block to out[0], out[stride], ...
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
    case DType::kQ4_0:
    case DType::kQ4_1:
    case DType::kQ8_0:
      break;
    default:
      return;
  }
  const Scale scale = LoadScale(dtype, block, lane);
  const int bits = QuantBits(dtype);
  for (int i = 0; i < bits; ++i) {
    uint32_t word = LoadAt<uint32_t>(block + kScaleBytes, i * kGroupRows + lane);
    for (int p = 0; p < 32 / bits; ++p, word >>= bits) {
      const auto quant = static_cast<float>(word & ((1u << bits) - 1));
      out[(p * bits + i) * stride] = scale.d * quant + scale.m;
    }
  }
}

const std::byte* BlockAt(const PackedMatrix& matrix, int64_t group, int64_t input) {
  return matrix.data + group * matrix.group_bytes() +
         input / BlockElements(matrix.dtype) * PackedBlockBytes(matrix.dtype);
}

}  // namespace

void PackGroups(const PackedMatrix& matrix, absl::Span<const std::byte* const> rows,
                int64_t group_begin, int64_t group_end, std::byte* data) {
  const int64_t blocks = matrix.in_features / BlockElements(matrix.dtype);
  const int64_t row_end = std::min(group_end * kGroupRows, matrix.out_features);
  for (int64_t row = group_begin * kGroupRows; row < row_end; ++row) {
    std::byte* to = data + row / kGroupRows * matrix.group_bytes();
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

void UnpackRow(const PackedMatrix& matrix, int64_t row, float* out) {
  const int step = BlockElements(matrix.dtype);
  for (int64_t k = 0; k < matrix.in_features; k += step) {
    UnpackBlock(matrix.dtype, BlockAt(matrix, row / kGroupRows, k),
                static_cast<int>(row % kGroupRows), 1, out + k);
  }
}

}  // namespace phalanx::kernels
