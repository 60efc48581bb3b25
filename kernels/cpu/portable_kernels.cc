// Plain loops that a compiler turns into whatever vector instructions every machine of the target
// has. Innermost loops run over eight or sixteen independent sums, because a compiler may not
// reorder a single sum of floats and so cannot vectorise it.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/cpu/float_format.h"
#include "kernels/cpu/kernel_set.h"
#include "kernels/cpu/kv_arena.h"
#include "kernels/cpu/portable_bf16.h"
#include "kernels/cpu/portable_int8.h"

namespace phalanx::kernels {
namespace {

// Adds one panel's part of eight outputs of one row; `out` holds the sum over earlier panels. The
// order of sums is the one that is told at kPanelInputs.
void AddPanel(const float* x, const float* weights, int64_t inputs, const LinearTask& task,
              int64_t row, int64_t first_output, bool first_panel, bool last_panel) {
  std::array<float, kGroupRows> sum = {};
  for (int64_t k = 0; k < inputs; ++k) {
    for (int lane = 0; lane < kGroupRows; ++lane)
      sum[lane] += x[k] * weights[k * kGroupRows + lane];
  }
  float* out = task.out + row * task.out_stride + first_output;
  // The last group of a matrix may have fewer than eight outputs.
  const int64_t lanes = std::min<int64_t>(kGroupRows, task.weights->out_features - first_output);
  for (int64_t lane = 0; lane < lanes; ++lane) {
    out[lane] = first_panel ? sum[lane] : out[lane] + sum[lane];
    if (last_panel && task.bias != nullptr) out[lane] += task.bias[first_output + lane];
  }
}

void Linear(const LinearTask& task, int64_t group_begin, int64_t group_end) {
  // Weights are decoded once for all rows. 8 KiB: stays in the first-level cache.
  alignas(64) std::array<float, kPanelInputs * kGroupRows> panel;
  const int64_t in_features = task.weights->in_features;
  for (int64_t group = group_begin; group < group_end; ++group) {
    for (int64_t begin = 0; begin < in_features; begin += kPanelInputs) {
      const int64_t end = std::min(begin + kPanelInputs, in_features);
      UnpackGroup(*task.weights, group, begin, end, panel.data());
      for (int64_t row = 0; row < task.rows; ++row) {
        AddPanel(task.x + row * in_features + begin, panel.data(), end - begin, task, row,
                 group * kGroupRows, begin == 0, end == in_features);
      }
    }
  }
}

// Elements of the KV cache: floats, upper halves of floats, and levels.
float ToFloat(float x) { return x; }
float ToFloat(uint16_t bfloat16) {
  return std::bit_cast<float>(static_cast<uint32_t>(bfloat16) << 16);
}
float ToFloat(int8_t level) { return level; }

// scale * query . key for all slots of one block. Slots past the sequence's last token get scores
// too, of whatever they hold; the caller does not look at these. `scales` are those of keys; none
// if null.
template <typename Element>
void BlockScores(const AttentionTask& task, const float* query, const Element* keys,
                 const float* scales, std::array<float, kKvBlockTokens>& scores) {
  scores.fill(0.0f);
  for (int d = 0; d < task.head_dim; ++d) {
    for (int s = 0; s < kKvBlockTokens; ++s) {
      scores[s] += query[d] * ToFloat(keys[d * kKvBlockTokens + s]);
    }
  }
  for (int s = 0; s < kKvBlockTokens; ++s) {
    scores[s] *= scales == nullptr ? task.scale : task.scale * scales[s];
  }
}

// The keys of one segment for one row, with a running maximum: when a block has a larger score,
// what was summed before shrinks, so that no weight is above 1 and no exponential overflows. Blocks
// are counted from the sequence's first token, so the bits do not depend on how steps are cut.
template <typename Element>
void AttendRow(const AttentionTask& task, int row, int64_t segment, const AttentionState& state) {
  const int value_stride = KvArena::ValueStride(task.head_dim);
  float* const out = state.values();
  std::array<float, kKvBlockTokens> scores;
  const int64_t begin = segment * kAttentionSegmentTokens;
  const int64_t end = std::min(begin + kAttentionSegmentTokens, task.num_keys_of(row));
  for (int64_t first = begin; first < end; first += kKvBlockTokens) {
    const int64_t block = task.blocks[first / kKvBlockTokens];
    const int64_t at = block * task.block_stride;
    const auto* const values = reinterpret_cast<const Element*>(task.values + at);
    const float* const scales =
        task.dtype == KvDType::kInt8 ? reinterpret_cast<const float*>(task.scales + at) : nullptr;
    BlockScores(task, task.query_of(row), reinterpret_cast<const Element*>(task.keys + at), scales,
                scores);
    const int64_t count = std::min<int64_t>(kKvBlockTokens, end - first);
    const float max =
        std::max(state.max(), *std::max_element(scores.begin(), scores.begin() + count));
    const float shrink = std::exp(state.max() - max);
    state.max() = max;
    state.sum() *= shrink;
    for (int d = 0; d < task.head_dim; ++d) out[d] *= shrink;
    for (int64_t s = 0; s < count; ++s) {
      const float p = std::exp(scores[s] - max);
      state.sum() += p;
      const float weight = scales == nullptr ? p : p * scales[kKvBlockTokens + s];
      for (int d = 0; d < task.head_dim; ++d) {
        out[d] += weight * ToFloat(values[s * value_stride + d]);
      }
    }
  }
}

void Attention(const AttentionTask& task, int64_t segment, float* states) {
  for (int row = 0; row < task.num_rows(); ++row) {
    const AttentionState state = {states + row * AttentionState::Floats(task.head_dim)};
    state.Clear(task.head_dim);
    if (task.dtype == KvDType::kInt8) {
      AttendRow<int8_t>(task, row, segment, state);
    } else if (task.dtype == KvDType::kBF16) {
      AttendRow<uint16_t>(task, row, segment, state);
    } else {
      AttendRow<float>(task, row, segment, state);
    }
  }
}

void RmsNorm(const float* x, const float* weight, float eps, int64_t n, float* out) {
  std::array<float, kGroupRows> squares = {};
  for (int64_t i = 0; i < n; ++i) squares[i % kGroupRows] += x[i] * x[i];
  float sum = 0.0f;
  for (float s : squares) sum += s;
  const float scale = 1.0f / std::sqrt(sum / static_cast<float>(n) + eps);
  for (int64_t i = 0; i < n; ++i) out[i] = x[i] * scale * weight[i];
}

void Add(const float* delta, int64_t n, float* residual) {
  for (int64_t i = 0; i < n; ++i) residual[i] += delta[i];
}

void SiluMul(const float* gate, const float* up, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
}

}  // namespace

const KernelSet& PortableKernels() {
  static const KernelSet kKernels = {
      .name = "portable",
      .linear = Linear,
      .int8 = {.quantize = portable::QuantizeBlocks, .run = portable::LinearInt8},
      .bf16 = {.sums_by = "multiply and add",
               .round = portable::RoundToBf16,
               .run = portable::LinearBf16,
               .tile_rows = portable::kBf16TileRows},
      .attention = Attention,
      .rms_norm = RmsNorm,
      .add = Add,
      .silu_mul = SiluMul,
      .logits = ScalarLogitKernels()};
  return kKernels;
}

}  // namespace phalanx::kernels
