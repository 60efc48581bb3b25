// Rotary embedding, KV cache and paged attention against the reference.
#include <algorithm>
#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/testing/attention_run.h"
#include "kernels/testing/op_suite.h"
#include "kernels/testing/step_builder.h"

namespace phalanx::kernels {
namespace {

class AttentionSuite : public OpTest {
 protected:
  using OpTest::OpTest;

  // Runs the steps on both backends and compares outputs and rotated rows.
  void ExpectEqualsReference(const Heads& heads, int num_blocks,
                             const std::vector<std::vector<Chunk>>& steps) {
    AttentionRun run(*backend_, heads, num_blocks);
    AttentionRun truth(*reference_, heads, num_blocks);
    double m = 0;
    int64_t n = 0;
    for (const auto& step : steps) {
      for (const Chunk& c : step) n = std::max<int64_t>(n, c.first + c.count);
    }
    for (const auto& step : steps) {
      Matrix out = run.Step(step);
      Matrix expected = truth.Step(step);
      m = std::max(m, Largest(truth.rotated()));
      for (size_t i = 0; i < run.rotated().size(); ++i) {
        // Angles to one rounding, the factor, two products and a sum.
        ASSERT_NEAR(run.rotated()[i], truth.rotated()[i], 2 * m * Roundings(5));
      }
      for (size_t i = 0; i < out.values().size(); ++i) {
        ASSERT_NEAR(out.values()[i], expected.values()[i], AttentionBound(heads, n, {m, m, m}));
      }
    }
  }
};

PHALANX_OP_SUITE(UpdateBlockTables, OpTest);
PHALANX_OP_SUITE(RopeAngles, OpTest);
PHALANX_OP_SUITE(RopeAndWriteKv, AttentionSuite);
PHALANX_OP_SUITE(PagedAttention, AttentionSuite);
PHALANX_OP_SUITE(RopeAttention, AttentionSuite);

// The angle is the same float32 on all backends. Its cosine or sine has at most one unit in the
// last place of error, two roundings, and the product with the factor one more; the reference
// rounds once. No value is larger than the factor.
TEST_P(RopeAnglesTest, EqualsTheReference) {
  constexpr float kFactor = 1.25f;
  for (int half : {1, 3, 32}) {
    StepBuilder step(4096);
    step.Add(0, 5, {0}, 0);
    step.Add(40000, 2, {0}, 1);
    Matrix inv_freq(2, half);
    for (int j = 0; j < 2 * half; ++j) {
      inv_freq.values()[j] = std::pow(10000.0f, -static_cast<float>(j) / (2 * half));
    }
    Matrix out(7, 2 * half, 1);
    Matrix expected(7, 2 * half, 2);
    backend_->RopeAngles(*stream_, step.batch(), inv_freq.tensor(), kFactor, out.tensor());
    reference_->RopeAngles(*stream_, step.batch(), inv_freq.tensor(), kFactor, expected.tensor());
    for (size_t i = 0; i < out.values().size(); ++i) {
      ASSERT_NEAR(out.values()[i], expected.values()[i], kFactor * Roundings(4)) << i;
    }
  }
}

TEST_P(RopeAndWriteKvTest, RotatesAsTheReferenceAndLeavesTheValues) {
  const Heads heads{4, 2, 10, 6};
  std::vector<Sequence> sequences;
  sequences.emplace_back(heads, 20, 6);
  const int num_blocks = DealBlocks(sequences);
  ExpectEqualsReference(heads, num_blocks, {{{&sequences[0], 0, 20}}});
  AttentionRun run(*backend_, heads, num_blocks);
  run.Step({{&sequences[0], 0, 20}});
  const int64_t values = int64_t{heads.q_heads + heads.kv_heads} * heads.head_dim;
  for (int64_t t = 0; t < 20; ++t) {
    for (int64_t i = 0; i < heads.qkv_cols(); ++i) {
      const bool turned = i < values && i % heads.head_dim < heads.rotary_dim;
      const float before = sequences[0].qkv.row(t)[i];
      const float after = run.rotated()[t * heads.qkv_cols() + i];
      if (!turned) {
        ASSERT_EQ(after, before);
      } else if (t == 0) {
        // Position 0 turns by nothing: only the factor of AttentionRun is left.
        ASSERT_EQ(after, before * 1.25f);
      }
    }
  }
}

TEST_P(PagedAttentionTest, EqualsTheReferenceForAllHeadShapes) {
  for (const Heads& heads :
       {Heads{1, 1, 16, 16}, Heads{6, 2, 64, 64}, Heads{3, 1, 64, 64}, Heads{5, 1, 80, 32},
        Heads{4, 4, 10, 6}, Heads{8, 2, 128, 96}, Heads{2, 1, 24, 24}, Heads{9, 1, 2, 2}}) {
    std::vector<Sequence> sequences;
    for (int tokens : {1, 37, 16}) sequences.emplace_back(heads, tokens, tokens);
    const int num_blocks = DealBlocks(sequences);
    ExpectEqualsReference(heads, num_blocks,
                          {{{&sequences[0], 0, 1}, {&sequences[1], 0, 36}, {&sequences[2], 0, 15}},
                           {{&sequences[2], 15, 1}, {&sequences[1], 36, 1}}});
  }
}

TEST_P(PagedAttentionTest, EqualsTheReferenceOverALongContext) {
  const Heads heads{3, 1, 64, 64};
  std::vector<Sequence> sequences;
  sequences.emplace_back(heads, 601, 1);
  const int num_blocks = DealBlocks(sequences);
  ExpectEqualsReference(heads, num_blocks, {{{&sequences[0], 0, 600}}, {{&sequences[0], 600, 1}}});
}

TEST_P(RopeAndWriteKvTest, EachSequenceFollowsItsOwnRopeList) {
  const Heads heads{2, 1, 16, 12};
  std::vector<Sequence> sequences;
  for (int i = 0; i < 2; ++i) sequences.emplace_back(heads, 20, 3);
  sequences[1].rope_list = 1;
  const int num_blocks = DealBlocks(sequences);
  ExpectEqualsReference(heads, num_blocks, {{{&sequences[0], 0, 20}, {&sequences[1], 0, 20}}});
  AttentionRun run(*backend_, heads, num_blocks);
  const Matrix out = run.Step({{&sequences[0], 0, 20}, {&sequences[1], 0, 20}});
  EXPECT_EQ(out.Row(0), out.Row(20));
  EXPECT_NE(out.Row(19), out.Row(39));
}

TEST_P(PagedAttentionTest, LargeScoresStayFinite) {
  const Heads heads{2, 1, 16, 16};
  std::vector<Sequence> sequences;
  sequences.emplace_back(heads, 300, 4);
  for (float& v : sequences[0].qkv.values()) v *= 100.0f;
  const int num_blocks = DealBlocks(sequences);
  AttentionRun run(*backend_, heads, num_blocks);
  Matrix out = run.Step({{&sequences[0], 0, 300}});
  const double largest = Largest(sequences[0].qkv.values());
  for (float v : out.values()) ASSERT_LE(std::abs(v), largest * 1.001);
}

TEST_P(PagedAttentionTest, ATokenIsTheSameBitsHoweverStepsAreCut) {
  const Heads heads{6, 2, 64, 64};
  std::vector<Sequence> sequences;
  for (int tokens : {290, 50}) sequences.emplace_back(heads, tokens, tokens);
  Sequence& s = sequences[0];
  Sequence& other = sequences[1];
  const int num_blocks = DealBlocks(sequences);

  AttentionRun one_shot(*backend_, heads, num_blocks);
  const Matrix expected = one_shot.Step({{&s, 0, 290}});

  AttentionRun chunked(*backend_, heads, num_blocks);
  std::vector<float> out;
  int first = 0;
  for (int count : {1, 30, 17, 16, 200, 1, 24, 1}) {
    const Matrix step = chunked.Step({{&other, first % 50, 1}, {&s, first, count}});
    out.insert(out.end(), step.row(1), step.row(0) + (1 + count) * step.cols());
    first += count;
  }
  ASSERT_EQ(first, 290);
  EXPECT_EQ(out, std::vector<float>(expected.values().begin(), expected.values().end()));
}

// A block keeps what its last owner wrote behind the tokens of its new one.
TEST_P(PagedAttentionTest, WhatLiesPastTheLastTokenIsNotRead) {
  const Heads heads{2, 1, 16, 16};
  std::vector<Sequence> sequences;
  for (int tokens : {16, 16}) sequences.emplace_back(heads, tokens, tokens);
  sequences[0].blocks = sequences[1].blocks = {0};
  AttentionRun fresh(*backend_, heads, 1);
  const Matrix expected = fresh.Step({{&sequences[1], 0, 3}});
  AttentionRun used(*backend_, heads, 1);
  for (float& v : sequences[0].qkv.values()) v = NAN;
  used.Step({{&sequences[0], 0, 16}});
  EXPECT_EQ(used.Step({{&sequences[1], 0, 3}}).Row(2), expected.Row(2));
}

// Runs prompts, then three tokens of each sequence one by one, with the ops apart and together. The
// later ones show what the earlier ones left in the cache.
void ExpectSameBits(Backend& backend, KvDType dtype, const Heads& heads,
                    const std::vector<int>& lengths) {
  std::vector<Sequence> sequences;
  for (int tokens : lengths) sequences.emplace_back(heads, tokens, tokens);
  const int num_blocks = DealBlocks(sequences);
  AttentionRun apart(backend, heads, num_blocks, dtype);
  AttentionRun together(backend, heads, num_blocks, dtype);
  for (int step = 0; step < 4; ++step) {
    std::vector<Chunk> chunks;
    for (size_t i = 0; i < sequences.size(); ++i) {
      const int prompt = lengths[i] - 3;
      if (step > 0) chunks.push_back({&sequences[i], prompt + step - 1, 1});
      if (step == 0 && prompt > 0) chunks.push_back({&sequences[i], 0, prompt});
    }
    ASSERT_EQ(together.Step(chunks, AttentionOps::kTogether).values(), apart.Step(chunks).values())
        << KvDTypeName(dtype) << ", heads of " << heads.head_dim << ", step " << step;
  }
}

// Sequences that begin, and that come to the ends of blocks of the cache.
TEST_P(RopeAttentionTest, HasTheBitsOfRotatingWritingAndAttending) {
  for (const KvDType dtype : GetParam().kv_dtypes) {
    for (const Heads& heads : {Heads{1, 1, 16, 16}, Heads{6, 2, 64, 48}, Heads{5, 1, 80, 32},
                               Heads{4, 4, 10, 6}, Heads{8, 2, 128, 96}, Heads{9, 1, 2, 2}}) {
      ExpectSameBits(*backend_, dtype, heads, {3, 4, 18, 34, 66});
    }
  }
}

// So long that a backend may share a sequence out, with the new key in a part of its own.
TEST_P(RopeAttentionTest, HasTheBitsOfItsPartsOverALongContext) {
  for (const KvDType dtype : GetParam().kv_dtypes) {
    ExpectSameBits(*backend_, dtype, Heads{2, 1, 64, 48}, {258, 5});
  }
}

// Of many sequences, a backend may take each whole.
TEST_P(RopeAttentionTest, HasTheBitsOfItsPartsForManySequences) {
  for (const KvDType dtype : GetParam().kv_dtypes) {
    ExpectSameBits(*backend_, dtype, Heads{2, 1, 64, 64},
                   {7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 259});
  }
}

TEST_P(UpdateBlockTablesTest, SetsTheEntriesInOrderAndLeavesTheOthers) {
  const std::vector<TableEntry> entries = {{1, 0, 7}, {0, 2, 8}, {1, 0, 9}};
  std::vector<int32_t> tables = {1, 2, 3, 4, 5, 6};
  StepBatch batch;
  batch.num_table_entries = 3;
  batch.table_entries = entries.data();
  batch.max_blocks_per_seq = 3;
  batch.block_tables = tables.data();
  backend_->UpdateBlockTables(*stream_, batch);
  EXPECT_EQ(tables, (std::vector<int32_t>{1, 2, 8, 9, 5, 6}));
}

}  // namespace
}  // namespace phalanx::kernels
