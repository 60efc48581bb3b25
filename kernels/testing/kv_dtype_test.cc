// Attention over caches of every type that a backend takes, against the reference with the same
// type. Heads are turned by quarters, so that both have the same rows to round, and round them to
// the same bits: a level that differs would be seen.
#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "kernels/testing/attention_run.h"
#include "kernels/testing/op_suite.h"

namespace phalanx::kernels {
namespace {

class KvDTypeTest : public BackendTest {
 protected:
  // Whether the backend rounds queries and weights to bfloat16 over caches of this type.
  bool Rounds(KvDType dtype) const {
    return dtype != KvDType::kF32 && absl::StrContains(backend_->Arithmetic(), "attention bf16");
  }

  // What this adds to the error of a sum over n keys: each weight is off by half of the last of 8
  // bits; and sums and weights that are subnormal count as zeros, of which a weight that was
  // multiplied by the scale of 8-bit levels is multiplied by up to 127 of these.
  double BoundOfRounding(KvDType dtype, int64_t n, const Sizes& sizes) const {
    if (!Rounds(dtype)) return 0;
    const double levels = HasKvScales(dtype) ? 128 : 1;
    return sizes.value * 0x1p-9 + static_cast<double>(n + 1) * levels * 0x1p-126;
  }

  // Runs the steps on both backends and compares.
  void ExpectEqualsReference(KvDType dtype, const Heads& heads, int num_blocks,
                             const std::vector<std::vector<Chunk>>& steps, const Sizes& sizes) {
    AttentionRun run(*backend_, heads, num_blocks, dtype, Turns::kQuarters);
    AttentionRun truth(*reference_, heads, num_blocks, dtype, Turns::kQuarters);
    if (Rounds(dtype)) truth.RoundQueries();
    int64_t n = 0;
    for (const auto& step : steps) {
      for (const Chunk& c : step) n = std::max<int64_t>(n, c.first + c.count);
      const Matrix out = run.Step(step);
      const Matrix expected = truth.Step(step);
      if (!Rounds(dtype)) {
        ASSERT_EQ(run.rotated(), truth.rotated());
      }
      // Where numbers are subnormal, each of the n + 1 sums may be off by half of the smallest.
      const double bound = AttentionBound(heads, n, sizes) + static_cast<double>(n + 1) * 0x1p-149 +
                           BoundOfRounding(dtype, n, sizes);
      for (size_t i = 0; i < out.values().size(); ++i) {
        ASSERT_NEAR(out.values()[i], expected.values()[i], bound)
            << KvDTypeName(dtype) << ", heads of " << heads.head_dim << ", element " << i;
      }
    }
  }
};

PHALANX_ON_ALL_BACKENDS(KvDTypeTest);

// Twice the largest number, by the factor of quarter turns.
Sizes SizesOf(const std::vector<Sequence>& sequences) {
  double m = 0;
  for (const Sequence& s : sequences) m = std::max(m, 2 * Largest(s.qkv.values()));
  return {m, m, m};
}

TEST_P(KvDTypeTest, AttentionEqualsTheReferenceForAllHeadShapes) {
  for (const KvDType dtype : GetParam().kv_dtypes) {
    for (const Heads& heads :
         {Heads{1, 1, 16, 16}, Heads{6, 2, 64, 64}, Heads{3, 1, 64, 48}, Heads{5, 1, 80, 32},
          Heads{4, 4, 10, 6}, Heads{8, 2, 128, 96}, Heads{2, 1, 24, 24}, Heads{9, 1, 2, 2}}) {
      std::vector<Sequence> sequences;
      for (int tokens : {1, 37, 16}) sequences.emplace_back(heads, tokens, tokens);
      const int num_blocks = DealBlocks(sequences);
      ExpectEqualsReference(
          dtype, heads, num_blocks,
          {{{&sequences[0], 0, 1}, {&sequences[1], 0, 36}, {&sequences[2], 0, 15}},
           {{&sequences[2], 15, 1}, {&sequences[1], 36, 1}}},
          SizesOf(sequences));
    }
  }
}

// Longer than what any backend takes at once. Of float32, attention_test.cc has the same.
TEST_P(KvDTypeTest, AttentionEqualsTheReferenceOverALongContext) {
  const Heads heads{3, 1, 64, 64};
  std::vector<Sequence> sequences;
  sequences.emplace_back(heads, 281, 1);
  const int num_blocks = DealBlocks(sequences);
  for (const KvDType dtype : GetParam().kv_dtypes) {
    if (dtype == KvDType::kF32) continue;
    ExpectEqualsReference(dtype, heads, num_blocks,
                          {{{&sequences[0], 0, 280}}, {{&sequences[0], 280, 1}}},
                          SizesOf(sequences));
  }
}

// Each type is one of its own: were one taken for another, the tests above could not tell, if the
// reference did the same.
TEST_P(KvDTypeTest, EachTypeGivesOtherNumbersThanTheOthers) {
  const Heads heads{2, 1, 16, 16};
  std::vector<Sequence> sequences;
  sequences.emplace_back(heads, 20, 3);
  const int num_blocks = DealBlocks(sequences);
  std::vector<AlignedVector<float>> outputs;
  for (const KvDType dtype : GetParam().kv_dtypes) {
    AttentionRun run(*backend_, heads, num_blocks, dtype);
    outputs.push_back(run.Step({{&sequences[0], 0, 20}}).values());
    for (size_t other = 0; other + 1 < outputs.size(); ++other) {
      EXPECT_NE(outputs.back(), outputs[other]) << KvDTypeName(dtype);
    }
  }
}

TEST_P(KvDTypeTest, ATokenIsTheSameBitsHoweverStepsAreCut) {
  const Heads heads{2, 1, 64, 64};
  std::vector<Sequence> sequences;
  for (int tokens : {290, 50}) sequences.emplace_back(heads, tokens, tokens);
  Sequence& s = sequences[0];
  Sequence& other = sequences[1];
  const int num_blocks = DealBlocks(sequences);
  for (const KvDType dtype : GetParam().kv_dtypes) {
    if (dtype == KvDType::kF32) continue;
    AttentionRun one_shot(*backend_, heads, num_blocks, dtype);
    const Matrix expected = one_shot.Step({{&s, 0, 290}});
    AttentionRun chunked(*backend_, heads, num_blocks, dtype);
    std::vector<float> out;
    int first = 0;
    for (int count : {1, 30, 17, 16, 200, 1, 24, 1}) {
      const Matrix step = chunked.Step({{&other, first % 50, 1}, {&s, first, count}});
      out.insert(out.end(), step.row(1), step.row(0) + (1 + count) * step.cols());
      first += count;
    }
    ASSERT_EQ(first, 290);
    EXPECT_EQ(out, std::vector<float>(expected.values().begin(), expected.values().end()))
        << KvDTypeName(dtype);
  }
}

// Multiplies what a head has in all rows of a sequence: queries, keys and values.
void Multiply(const Heads& heads, float query, float key, float value, Sequence& sequence) {
  for (int64_t t = 0; t < sequence.qkv.rows(); ++t) {
    auto row = sequence.qkv.values().begin() + t * heads.qkv_cols();
    for (int64_t i = 0; i < heads.qkv_cols(); ++i) {
      const int64_t head = i / heads.head_dim;
      row[i] *= head < heads.q_heads ? query : head < heads.q_heads + heads.kv_heads ? key : value;
    }
  }
}

TEST_P(KvDTypeTest, HugeTinySubnormalAndZeroRows) {
  const Heads heads{4, 2, 64, 64};
  struct Factors {
    float query;
    float key;
    float value;
  };
  for (const Factors& f :
       {Factors{1e-18f, 1e18f, 1.0f}, Factors{1.0f, 1.0f, 1e30f}, Factors{1e20f, 1e-20f, 1e-20f},
        Factors{1.0f, 1e-40f, 1e-40f}, Factors{1.0f, 1.0f, 1e-36f}, Factors{1.0f, 0.0f, 0.0f}}) {
    std::vector<Sequence> sequences;
    for (int tokens : {40, 3}) sequences.emplace_back(heads, tokens, tokens);
    const int num_blocks = DealBlocks(sequences);
    Sizes sizes = SizesOf(sequences);
    sizes = {sizes.query * f.query, sizes.key * f.key, sizes.value * f.value};
    for (Sequence& s : sequences) Multiply(heads, f.query, f.key, f.value, s);
    // Some rows of zeros among the others.
    for (int64_t t : {5, 39}) {
      std::fill_n(sequences[0].qkv.values().begin() + t * heads.qkv_cols(), heads.qkv_cols(), 0.0f);
    }
    for (const KvDType dtype : GetParam().kv_dtypes) {
      SCOPED_TRACE(testing::Message() << "value times " << f.value);
      ExpectEqualsReference(dtype, heads, num_blocks,
                            {{{&sequences[0], 0, 39}, {&sequences[1], 0, 2}},
                             {{&sequences[0], 39, 1}, {&sequences[1], 2, 1}}},
                            sizes);
    }
  }
}

// A block keeps what its last owner wrote behind the tokens of its new one.
TEST_P(KvDTypeTest, WhatLiesPastTheLastTokenIsNotRead) {
  const Heads heads{2, 1, 64, 64};
  for (const KvDType dtype : GetParam().kv_dtypes) {
    std::vector<Sequence> sequences;
    for (int tokens : {16, 16}) sequences.emplace_back(heads, tokens, tokens);
    sequences[0].blocks = sequences[1].blocks = {0};
    AttentionRun fresh(*backend_, heads, 1, dtype);
    const Matrix expected = fresh.Step({{&sequences[1], 0, 3}});
    AttentionRun used(*backend_, heads, 1, dtype);
    for (float& v : sequences[0].qkv.values()) v = NAN;
    used.Step({{&sequences[0], 0, 16}});
    EXPECT_EQ(used.Step({{&sequences[1], 0, 3}}).Row(2), expected.Row(2)) << KvDTypeName(dtype);
  }
}

// A fault must not become an answer.
TEST_P(KvDTypeTest, ARowThatHoldsNoNumberIsSeen) {
  const Heads heads{2, 1, 16, 16};
  for (const KvDType dtype : GetParam().kv_dtypes) {
    for (const bool in_key : {true, false}) {
      for (const float bad : {NAN, INFINITY}) {
        // A score of -infinity is one: such a key is not looked at.
        if (in_key && std::isinf(bad) && !HasKvScales(dtype)) continue;
        std::vector<Sequence> sequences;
        sequences.emplace_back(heads, 20, 8);
        const int num_blocks = DealBlocks(sequences);
        AttentionRun run(*backend_, heads, num_blocks, dtype);
        const int64_t head = heads.q_heads + (in_key ? 0 : 1);
        sequences[0].qkv.values()[3 * heads.qkv_cols() + head * heads.head_dim + 7] = bad;
        const Matrix out = run.Step({{&sequences[0], 0, 20}});
        EXPECT_TRUE(std::all_of(out.row(0), out.row(3), [](float x) { return std::isfinite(x); }));
        for (int64_t t = 3; t < 20; ++t) {
          EXPECT_FALSE(std::all_of(out.row(t), out.row(t) + out.cols(),
                                   [](float x) { return std::isfinite(x); }))
              << KvDTypeName(dtype) << ", " << bad << " in a " << (in_key ? "key" : "value");
        }
      }
    }
  }
}

}  // namespace
}  // namespace phalanx::kernels
