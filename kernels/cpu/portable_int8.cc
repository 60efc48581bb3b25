#include "kernels/cpu/portable_int8.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>

#include "kernels/cpu/int8_layout.h"
#include "kernels/cpu/packed_values.h"
#include "kernels/dequantize.h"
#include "kernels/quant_block.h"

namespace phalanx::kernels::portable {
namespace {

using int8::kBlockInputs;
using int8::kGroupRows;
using int8::kUnitWords;
using int8::kVectorBytes;

// The codes of word `w` of a unit for one output, or what a table has for them.
uint32_t CodesOf(DType dtype, const std::byte* unit, int w, int lane) {
  const auto field = [&](int bits, const std::byte* plane) {
    if (bits == 0) return 0u;
    const auto lanes = LoadAt<uint32_t>(plane + w * bits / 8 * kVectorBytes, lane);
    return lanes >> (w * bits % 8) & 0x01010101u * ((1u << bits) - 1);
  };
  const int low = int8::LowBits(dtype);
  uint32_t codes = field(low, unit) | field(int8::HighBits(dtype), unit + low * kVectorBytes)
                                          << low;
  if (dtype == DType::kIQ4_NL) {
    uint32_t levels = 0;
    for (int i = 0; i < 32; i += 8) {
      levels |= static_cast<uint32_t>(kIq4NlLevels[codes >> i & 15] + int8::ZeroOf(dtype)) << i;
    }
    codes = levels;
  }
  return codes;
}

// Of sub-block `s` of a block.
Scale LoadScale(DType dtype, const std::byte* block, int64_t s, int lane) {
  Scale scale = {HalfToFloat(LoadAt<uint16_t>(block, lane)), 0.0f};
  if (HasMinimum(dtype)) scale.m = HalfToFloat(LoadAt<uint16_t>(block, kGroupRows + lane));
  const int sub_blocks = int8::SubBlocks(dtype);
  if (sub_blocks == 1) return scale;
  const int64_t at = (HasMinimum(dtype) ? 64 : 32) + s * kGroupRows + lane;
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

// One row of a tile of inputs.
struct Row {
  const std::byte* data;  // Of the tile.
  int8::TileLayout layout;
  int64_t tile_rows;
  int64_t row;

  int8_t Level(int64_t b, int64_t k) const {
    return LoadAt<int8_t>(data, (b * tile_rows + row) * kBlockInputs + k);
  }
  float ScaleOf(int64_t b) const {
    return LoadAt<float>(data + layout.ScalesOffset(tile_rows), b * tile_rows + row);
  }
  template <typename T>
  T Sum(int64_t sub_block) const {
    return LoadAt<T>(data + layout.SumsOffset(tile_rows), sub_block * tile_rows + row);
  }
};

void AddUnit(DType dtype, const UnpackedUnit& unit, const Row& x, int64_t b,
             std::array<float, kGroupRows>& outputs) {
  const int sub_block = SubBlockElements(dtype);
  const int parts = kBlockInputs / sub_block;
  for (int part = 0; part < parts; ++part) {
    std::array<int32_t, kGroupRows> dots;
    dots.fill(HasMinimum(dtype) ? 0 : x.Sum<int32_t>(b * parts + part));
    for (int k = part * sub_block; k < (part + 1) * sub_block; ++k) {
      const int8_t level = x.Level(b, k);
      for (int lane = 0; lane < kGroupRows; ++lane) dots[lane] += unit.codes[k][lane] * level;
    }
    for (int lane = 0; lane < kGroupRows; ++lane) {
      const Scale& scale = unit.scales[part][lane];
      outputs[lane] += static_cast<float>(dots[lane]) * (scale.d * x.ScaleOf(b));
      if (HasMinimum(dtype)) outputs[lane] += scale.m * x.Sum<float>(b * parts + part);
    }
  }
}

// Rows whose outputs are kept while the weights of a group are unpacked once.
constexpr int64_t kRowsAtOnce = 64;

void MultiplyGroup(const LinearTask& task, int64_t group, int64_t first_row, int64_t rows) {
  const DType dtype = task.weights->dtype;
  const int64_t in_features = task.weights->in_features;
  const int8::TileLayout layout = {in_features, SubBlockElements(dtype)};
  const std::byte* const data = task.weights->data + group * int8::GroupBytes(dtype, in_features);
  std::array<std::array<float, kGroupRows>, kRowsAtOnce> outputs = {};
  for (int64_t b = 0; b < in_features / kBlockInputs; ++b) {
    const UnpackedUnit unit = Unpack(dtype, data, in_features, b);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t tile = (first_row + r) / int8::kTileRows;
      const Row x = {task.prepared + layout.TileOffset(tile), layout,
                     int8::TileRows(task.rows, tile), (first_row + r) % int8::kTileRows};
      AddUnit(dtype, unit, x, b, outputs[r]);
    }
  }
  const int64_t first = group * kGroupRows;
  const int64_t lanes = std::min<int64_t>(kGroupRows, task.weights->out_features - first);
  for (int64_t r = 0; r < rows; ++r) {
    float* const to = task.out + (first_row + r) * task.out_stride + first;
    for (int64_t lane = 0; lane < lanes; ++lane) {
      to[lane] = outputs[r][lane] + (task.bias == nullptr ? 0.0f : task.bias[first + lane]);
    }
  }
}

float QuantizeBlock(const float* x, int8_t* levels, int32_t (&sums)[2]) {
  float maximum = 0.0f;
  bool is_finite = true;
  for (int i = 0; i < kBlockInputs; ++i) {
    maximum = std::max(maximum, std::abs(x[i]));
    is_finite &= std::isfinite(x[i]);
  }
  sums[0] = sums[1] = 0;
  if (!is_finite || maximum < int8::kLeastMaximum) {
    std::fill_n(levels, kBlockInputs, 0);
    return is_finite ? 0.0f : std::numeric_limits<float>::quiet_NaN();
  }
  const float factor = 127.0f / maximum;
  for (int i = 0; i < kBlockInputs; ++i) {
    levels[i] = static_cast<int8_t>(std::nearbyint(x[i] * factor));
    sums[i / 16] += levels[i];
  }
  return maximum / 127.0f;
}

}  // namespace

UnpackedUnit Unpack(DType dtype, const std::byte* group, int64_t in_features, int64_t b) {
  const int units = int8::UnitsPerBlock(dtype);
  const int parts = kBlockInputs / SubBlockElements(dtype);
  const std::byte* const unit = group + b * int8::UnitBytes(dtype);
  const std::byte* const block =
      group + int8::CodeBytes(dtype, in_features) + b / units * int8::ScaleBytes(dtype);
  UnpackedUnit unpacked;
  for (int lane = 0; lane < kGroupRows; ++lane) {
    for (int w = 0; w < kUnitWords; ++w) {
      const uint32_t codes = CodesOf(dtype, unit, w, lane);
      for (int i = 0; i < 4; ++i) {
        unpacked.codes[w * 4 + i][lane] = static_cast<uint8_t>(codes >> (8 * i));
      }
    }
    for (int part = 0; part < parts; ++part) {
      unpacked.scales[part][lane] = LoadScale(dtype, block, b % units * parts + part, lane);
    }
  }
  return unpacked;
}

void QuantizeBlocks(const float* x, int blocks, int8_t* levels, int64_t stride,
                    int8::QuantizedBlocks& to) {
  for (int i = 0; i < blocks; ++i) {
    to.scales[i] = QuantizeBlock(x + i * kBlockInputs, levels + i * stride, to.sums[i]);
  }
}

void LinearInt8(const LinearTask& task, int64_t group_begin, int64_t group_end) {
  for (int64_t group = group_begin; group < group_end; ++group) {
    for (int64_t row = 0; row < task.rows; row += kRowsAtOnce) {
      MultiplyGroup(task, group, row, std::min(kRowsAtOnce, task.rows - row));
    }
  }
}

}  // namespace phalanx::kernels::portable
