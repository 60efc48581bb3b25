#include "kernels/testing/attention_run.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "gtest/gtest.h"
#include "kernels/bfloat16.h"
#include "kernels/dequantize.h"
#include "kernels/testing/op_suite.h"
#include "kernels/testing/step_builder.h"

namespace phalanx::kernels {

AttentionRun::AttentionRun(Backend& backend, const Heads& heads, int num_blocks, KvDType dtype,
                           Turns turns)
    : backend_(backend),
      heads_(heads),
      turns_(turns),
      stream_(backend.NewStream()),
      cache_(*backend.AllocateKvCache({.num_layers = 2,
                                       .num_blocks = num_blocks,
                                       .num_kv_heads = heads.kv_heads,
                                       .head_dim = heads.head_dim,
                                       .dtype = dtype})),
      inv_freq_(2, heads.rotary_dim / 2) {}

Matrix AttentionRun::Step(const std::vector<Chunk>& chunks, AttentionOps ops) {
  StepBuilder step(64);
  int64_t tokens = 0;
  for (const Chunk& c : chunks) {
    step.Add(c.first, c.count, c.sequence->blocks, c.sequence->rope_list);
    tokens += c.count;
  }
  Matrix qkv(tokens, heads_.qkv_cols());
  auto to = qkv.values().begin();
  for (const Chunk& c : chunks) {
    to = std::copy_n(c.sequence->qkv.row(c.first), c.count * heads_.qkv_cols(), to);
  }
  if (rounds_queries_) RoundQueriesOf(qkv);
  Matrix cos_sin(tokens, heads_.rotary_dim);
  Matrix out(tokens, int64_t{heads_.q_heads} * heads_.head_dim, 99);
  if (turns_ == Turns::kQuarters) {
    SetQuarterTurns(step.batch(), cos_sin);
  } else {
    backend_.RopeAngles(*stream_, step.batch(), InverseFrequencies().tensor(), 1.25f,
                        cos_sin.tensor());
  }
  if (ops == AttentionOps::kTogether) {
    backend_.RopeAttention(*stream_, step.batch(), cos_sin.tensor(), heads_.q_heads, qkv.tensor(),
                           kAttentionScale, *cache_, 1, out.tensor());
  } else {
    backend_.RopeAndWriteKv(*stream_, step.batch(), cos_sin.tensor(), heads_.q_heads, qkv.tensor(),
                            *cache_, 1);
    backend_.PagedAttention(*stream_, step.batch(), qkv.tensor(), heads_.q_heads, kAttentionScale,
                            *cache_, 1, out.tensor());
  }
  EXPECT_TRUE(stream_->Synchronize().ok());
  rotated_ = qkv.values();
  return out;
}

Matrix& AttentionRun::InverseFrequencies() {
  const int half = heads_.rotary_dim / 2;
  for (int list = 0; list < 2; ++list) {
    for (int j = 0; j < half; ++j) {
      inv_freq_.values()[list * half + j] =
          std::pow(10000.0f, -static_cast<float>(j) / half) / static_cast<float>(1 + 3 * list);
    }
  }
  return inv_freq_;
}

void AttentionRun::RoundQueriesOf(Matrix& qkv) const {
  const float factor = kAttentionScale * 1.44269504f;
  for (int64_t t = 0; t < qkv.rows(); ++t) {
    const auto row = qkv.values().begin() + t * qkv.cols();
    for (int i = 0; i < heads_.q_heads * heads_.head_dim; ++i) {
      row[i] = BFloat16ToFloat(FloatToBFloat16(row[i] * factor)) / factor;
    }
  }
}

void AttentionRun::SetQuarterTurns(const StepBatch& batch, Matrix& cos_sin) const {
  const int64_t half = heads_.rotary_dim / 2;
  for (int64_t t = 0; t < batch.num_tokens; ++t) {
    const auto row = cos_sin.values().begin() + t * cos_sin.cols();
    const bool turns = batch.positions[t] % 2 == 1;
    std::fill_n(row, half, turns ? 0.0f : 2.0f);
    std::fill_n(row + half, half, turns ? 2.0f : 0.0f);
  }
}

int DealBlocks(std::vector<Sequence>& sequences) {
  size_t total = 0;
  for (const Sequence& s : sequences) total += s.blocks.size();
  std::vector<int32_t> all(total);
  std::iota(all.begin(), all.end(), 0);
  std::shuffle(all.begin(), all.end(), std::mt19937(5));
  auto from = all.begin();
  for (Sequence& s : sequences) {
    std::copy_n(from, s.blocks.size(), s.blocks.begin());
    from += s.blocks.size();
  }
  return static_cast<int>(total);
}

double Largest(const AlignedVector<float>& values) {
  double largest = 0;
  for (float v : values) largest = std::max(largest, std::abs(double{v}));
  return largest;
}

double AttentionBound(const Heads& heads, int64_t n, const Sizes& sizes) {
  const double score = std::abs(kAttentionScale) * heads.head_dim * sizes.query * sizes.key;
  return sizes.value * (2 * score * Roundings(heads.head_dim + 14) +
                        Roundings(2.0 * static_cast<double>(n) + 26));
}

}  // namespace phalanx::kernels
