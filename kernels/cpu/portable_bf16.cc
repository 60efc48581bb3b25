#include "kernels/cpu/portable_bf16.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>

#include "kernels/bfloat16.h"
#include "kernels/cpu/bf16_layout.h"
#include "kernels/cpu/packed_values.h"
#include "kernels/cpu/portable_int8.h"
#include "kernels/quant_block.h"

namespace phalanx::kernels::portable {
namespace {

using bf16::kBlockInputs;
using bf16::kBlockPairs;
using bf16::kGroupRows;

float Widened(uint32_t bfloat16) { return std::bit_cast<float>(bfloat16 << 16); }

// The weights of one block of inputs for a group of outputs, rounded.
using Weights = std::array<std::array<float, kGroupRows>, kBlockInputs>;

void UnpackPairs(const std::byte* block, Weights& to) {
  for (int p = 0; p < kBlockPairs; ++p) {
    for (int lane = 0; lane < kGroupRows; ++lane) {
      const auto pair = LoadAt<uint32_t>(block, p * kGroupRows + lane);
      to[2 * p][lane] = Widened(pair & 0xffff);
      to[2 * p + 1][lane] = Widened(pair >> 16);
    }
  }
}

void UnpackCodes(DType dtype, const UnpackedUnit& unit, Weights& to) {
  const auto zero = static_cast<float>(int8::ZeroOf(dtype));
  for (int k = 0; k < kBlockInputs; ++k) {
    for (int lane = 0; lane < kGroupRows; ++lane) {
      const Scale& scale = unit.scales[k / SubBlockElements(dtype)][lane];
      float weight = scale.d * (static_cast<float>(unit.codes[k][lane]) - zero);
      if (HasMinimum(dtype)) weight += scale.m;
      to[k][lane] = Widened(FloatToBFloat16(weight));
    }
  }
}

void AddBlock(const Weights& weights, const std::byte* inputs,
              std::array<float, kGroupRows>& outputs) {
  for (int k = 0; k < kBlockInputs; k += 2) {
    const float first = Widened(LoadAt<uint16_t>(inputs, k));
    const float second = Widened(LoadAt<uint16_t>(inputs, k + 1));
    for (int lane = 0; lane < kGroupRows; ++lane) {
      outputs[lane] += second * weights[k + 1][lane];
      outputs[lane] += first * weights[k][lane];
    }
  }
}

// Rows whose outputs are kept while the weights of a group are unpacked once.
constexpr int64_t kRowsAtOnce = 64;

void MultiplyGroup(const LinearTask& task, int64_t group, int64_t first_row, int64_t rows) {
  const DType dtype = task.weights->dtype;
  const int64_t in_features = task.weights->in_features;
  const bf16::TileLayout layout = {in_features, kBf16TileRows};
  const std::byte* const data = task.weights->data + group * bf16::GroupBytes(dtype, in_features);
  std::array<std::array<float, kGroupRows>, kRowsAtOnce> outputs = {};
  Weights weights;
  for (int64_t b = 0; b < bf16::Blocks(in_features); ++b) {
    if (IsQuantized(dtype)) {
      UnpackCodes(dtype, Unpack(dtype, data, in_features, b), weights);
    } else {
      UnpackPairs(data + b * bf16::kBlockBytes, weights);
    }
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t tile = (first_row + r) / kBf16TileRows;
      const int64_t at = b * layout.TileRows(task.rows, tile) + (first_row + r) % kBf16TileRows;
      AddBlock(weights, task.prepared + layout.TileOffset(tile) + at * bf16::kRowBytes, outputs[r]);
    }
  }
  const int64_t first = group * kGroupRows;
  const int64_t lanes = std::min<int64_t>(kGroupRows, task.weights->out_features - first);
  for (int64_t r = 0; r < rows; ++r) {
    float* const to = task.out + (first_row + r) * task.out_stride + first;
    for (int64_t lane = 0; lane < lanes; ++lane) {
      to[lane] = outputs[r][lane];
      if (task.bias != nullptr) to[lane] += task.bias[first + lane];
    }
  }
}

}  // namespace

void RoundToBf16(const float* x, int64_t n, uint16_t* to) {
  for (int64_t i = 0; i < n; ++i) to[i] = FloatToBFloat16(x[i]);
}

void LinearBf16(const LinearTask& task, int64_t group_begin, int64_t group_end) {
  for (int64_t group = group_begin; group < group_end; ++group) {
    for (int64_t row = 0; row < task.rows; row += kRowsAtOnce) {
      MultiplyGroup(task, group, row, std::min(kRowsAtOnce, task.rows - row));
    }
  }
}

}  // namespace phalanx::kernels::portable
