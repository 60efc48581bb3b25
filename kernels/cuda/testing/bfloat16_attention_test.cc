// Attention of the CUDA backend with activations in bfloat16: against the reference with the same
// types, and against itself.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/bfloat16.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/testing/bfloat16_attention_run.h"
#include "kernels/cuda/testing/cuda_variants.h"
#include "kernels/reference/reference_backend.h"

namespace phalanx::kernels {
namespace {

using bfloat16::AttentionRun;
using bfloat16::Heads;
using bfloat16::kFrequency;
using bfloat16::MakeSequences;
using bfloat16::Sequence;

// Half the distance from 1 to the next number.
constexpr double kStored = 0x1p-8;

class BFloat16AttentionTest : public testing::TestWithParam<CudaVariant> {
 protected:
  BFloat16AttentionTest() {
    GetParam().choose();
    backend_ = *MakeCudaBackend({.activations = DType::kBF16});
    EXPECT_TRUE(backend_
                    ->Reserve({.max_tokens = 256,
                               .max_seqs = 32,
                               .local_q_heads = 16,
                               .head_dim = 128,
                               .max_blocks_per_seq = 64})
                    .ok());
  }

  std::unique_ptr<Backend> backend_;
  const std::unique_ptr<Backend> reference_ =
      MakeTypedReferenceBackend({.activations = DType::kBF16});
};

INSTANTIATE_TEST_SUITE_P(Variants, BFloat16AttentionTest, testing::ValuesIn(CudaVariants()),
                         [](const auto& info) { return info.param.name; });

// Values are below 5 in size. A weight is rounded to bfloat16, with the scale of its value if there
// is one, and so is the result, on both sides: each may differ by 2^-9 of that, four times 0.01.
// Rotated keys may differ by a rounding to bfloat16, which moves scores by up to 2^-9 of a product,
// but these differences are as often of one sign as of the other and vanish beside the bound. A
// level that they move would not: so keys that are quantized are not turned, and are the same.
TEST_P(BFloat16AttentionTest, AttentionIsThatOfTheReference) {
  for (const Heads& heads : {Heads{6, 2, 64}, Heads{3, 1, 128}, Heads{4, 4, 64}, Heads{5, 1, 80}}) {
    for (const KvDType dtype : {KvDType::kBF16, KvDType::kInt8, KvDType::kFp8}) {
      const float frequency = HasKvScales(dtype) ? 0.0f : kFrequency;
      int num_blocks = 0;
      std::vector<Sequence> s = MakeSequences(heads, {1, 37, 300, 65}, &num_blocks);
      AttentionRun run(*backend_, heads, num_blocks, dtype, frequency);
      AttentionRun truth(*reference_, heads, num_blocks, dtype, frequency);
      const std::vector<std::vector<AttentionRun::Chunk>> steps = {
          {{&s[0], 0, 1}, {&s[1], 0, 36}, {&s[2], 0, 299}, {&s[3], 0, 64}},
          {{&s[3], 64, 1}, {&s[1], 36, 1}, {&s[2], 299, 1}}};
      for (const auto& step : steps) {
        const auto out = run.Step(step);
        const auto expected = truth.Step(step);
        ASSERT_EQ(out.size(), expected.size());
        for (size_t i = 0; i < out.size(); ++i) {
          ASSERT_NEAR(BFloat16ToFloat(out[i]), BFloat16ToFloat(expected[i]), 0.04)
              << KvDTypeName(dtype) << ", heads of " << heads.head_dim << ", element " << i;
        }
      }
    }
  }
}

// Between two values whose sizes are far apart, by less than an average of them could.
TEST_P(BFloat16AttentionTest, EachKeyAndValueHasItsOwnScale) {
  const Heads heads = {2, 1, 64};
  for (const KvDType dtype : kAllKvDTypes) {
    int num_blocks = 0;
    std::vector<Sequence> s = MakeSequences(heads, {40}, &num_blocks);
    // Queries are zeros, so that all keys weigh the same.
    for (int64_t t = 0; t < 40; ++t) {
      for (int64_t i = 0; i < 4 * 64; ++i) {
        const float value =
            std::ldexp(1.0f + static_cast<float>(i % 64) / 64, static_cast<int>(-t));
        s[0].qkv.bits()[t * 4 * 64 + i] = FloatToBFloat16(i < 128 ? 0.0f : value);
      }
    }
    AttentionRun run(*backend_, heads, num_blocks, dtype, 0.0f);
    AttentionRun truth(*reference_, heads, num_blocks, dtype, 0.0f);
    const auto out = run.Step({{&s[0], 0, 40}});
    const auto expected = truth.Step({{&s[0], 0, 40}});
    for (size_t i = 0; i < out.size(); ++i) {
      const float size = BFloat16ToFloat(expected[i]);
      ASSERT_NEAR(BFloat16ToFloat(out[i]), size, 2.5 * kStored * size) << KvDTypeName(dtype);
    }
  }
}

// Keys of later tokens are in the same tile, with whatever numbers.
TEST_P(BFloat16AttentionTest, ATokenDoesNotSeeTheFaultsOfLaterOnes) {
  const Heads heads = {2, 1, 64};
  for (const KvDType dtype : {KvDType::kInt8, KvDType::kFp8}) {
    int num_blocks = 0;
    std::vector<Sequence> s = MakeSequences(heads, {40}, &num_blocks);
    AttentionRun run(*backend_, heads, num_blocks, dtype, kFrequency);
    const auto expected = run.Step({{&s[0], 0, 40}});
    for (size_t i = 30 * 4 * 64; i < s[0].qkv.bits().size(); ++i) {
      s[0].qkv.bits()[i] = FloatToBFloat16(NAN);
    }
    const auto out = run.Step({{&s[0], 0, 40}});
    EXPECT_TRUE(std::equal(out.begin(), out.begin() + 30 * 2 * 64, expected.begin()))
        << KvDTypeName(dtype);
    EXPECT_TRUE(std::isnan(BFloat16ToFloat(out[30 * 2 * 64]))) << KvDTypeName(dtype);
  }
}

TEST_P(BFloat16AttentionTest, AttentionOfATokenIsTheSameBitsHoweverStepsAreCut) {
  for (const auto& [dtype, heads] :
       {std::pair(KvDType::kBF16, Heads{6, 2, 128}), std::pair(KvDType::kInt8, Heads{2, 1, 128}),
        std::pair(KvDType::kFp8, Heads{2, 1, 64})}) {
    int num_blocks = 0;
    std::vector<Sequence> s = MakeSequences(heads, {600, 50}, &num_blocks);
    AttentionRun one_shot(*backend_, heads, num_blocks, dtype, kFrequency);
    const auto expected = one_shot.Step({{&s[0], 0, 600}});
    AttentionRun chunked(*backend_, heads, num_blocks, dtype, kFrequency);
    const int64_t cols = int64_t{heads.q_heads} * heads.head_dim;
    int first = 0;
    for (const int count : {1, 250, 4, 1, 1, 254, 1, 1, 87}) {
      // With one other token in the step or with many, which decides about the kernel.
      std::vector<AttentionRun::Chunk> chunks = {{&s[1], first % 50, 1}, {&s[0], first, count}};
      const auto out = chunked.Step(chunks);
      EXPECT_TRUE(std::equal(out.begin() + cols, out.end(), expected.begin() + first * cols))
          << KvDTypeName(dtype) << ", " << count << " tokens from " << first;
      first += count;
    }
    EXPECT_EQ(first, 600);
  }
}

// More sequences than share out segments.
TEST_P(BFloat16AttentionTest, AttentionOfManyTokensIsThatOfEachAlone) {
  const Heads heads = {3, 1, 64};
  int num_blocks = 0;
  std::vector<int> lengths;
  for (int i = 0; i < 17; ++i) lengths.push_back(280 + i);
  std::vector<Sequence> s = MakeSequences(heads, lengths, &num_blocks);
  for (const KvDType dtype : {KvDType::kBF16, KvDType::kInt8}) {
    AttentionRun run(*backend_, heads, num_blocks, dtype, kFrequency);
    std::vector<AttentionRun::Chunk> all;
    for (Sequence& sequence : s) {
      const int length = lengths[&sequence - s.data()];
      run.Step({{&sequence, 0, length - 1}});
      all.push_back({&sequence, length - 1, 1});
    }
    const auto together = run.Step(all);
    const int64_t cols = int64_t{heads.q_heads} * heads.head_dim;
    for (size_t i = 0; i < all.size(); ++i) {
      const auto alone = run.Step({all[i]});
      EXPECT_TRUE(
          std::equal(alone.begin(), alone.end(), together.begin() + static_cast<int64_t>(i) * cols))
          << KvDTypeName(dtype);
    }
  }
}

// Runs prompts with the ops apart, then the last three tokens of each sequence, one by one, with
// the ops apart and together. The later ones show what the earlier ones left in the cache.
void ExpectSameBits(Backend& backend, KvDType dtype, const Heads& heads,
                    const std::vector<int>& lengths) {
  int num_blocks = 0;
  std::vector<Sequence> s = MakeSequences(heads, lengths, &num_blocks);
  AttentionRun apart(backend, heads, num_blocks, dtype, kFrequency);
  AttentionRun together(backend, heads, num_blocks, dtype, kFrequency);
  for (int step = 0; step < 4; ++step) {
    std::vector<AttentionRun::Chunk> chunks;
    for (size_t i = 0; i < s.size(); ++i) {
      const int prompt = lengths[i] - 3;
      if (step > 0) chunks.push_back({&s[i], prompt + step - 1, 1});
      if (step == 0 && prompt > 0) chunks.push_back({&s[i], 0, prompt});
    }
    const auto expected = apart.Step(chunks);
    ASSERT_EQ(together.Step(chunks, /*together=*/step > 0), expected)
        << KvDTypeName(dtype) << ", heads of " << heads.head_dim << ", step " << step;
  }
}

// Sequences that begin, and that come to the ends of blocks, tiles and segments. Heads on the
// tensor cores and others; rotated in part, also by an odd number of pairs.
TEST_P(BFloat16AttentionTest, RotationTogetherWithAttentionHasTheSameBits) {
  for (const KvDType dtype : kAllKvDTypes) {
    for (const Heads& heads : {Heads{3, 1, 64}, Heads{4, 2, 128, 32}, Heads{16, 1, 64, 54},
                               Heads{5, 1, 80, 16}, Heads{1, 1, 128, 128}}) {
      ExpectSameBits(*backend_, dtype, heads, {3, 18, 66, 130});
    }
    if (dtype != KvDType::kF32) ExpectSameBits(*backend_, dtype, {2, 1, 64}, {258, 515, 4});
  }
}

// More sequences than share out segments.
TEST_P(BFloat16AttentionTest, RotationTogetherWithAttentionHasTheSameBitsForManySequences) {
  std::vector<int> lengths = {259};
  for (int i = 0; i < 16; ++i) lengths.push_back(3 + i);
  for (const KvDType dtype : {KvDType::kBF16, KvDType::kInt8, KvDType::kFp8}) {
    ExpectSameBits(*backend_, dtype, {2, 1, 64}, lengths);
  }
}

}  // namespace
}  // namespace phalanx::kernels
