// Attention of the CUDA backend with activations in bfloat16: against the reference with the same
// types, and against itself.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/bfloat16.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/testing/bfloat16_matrix.h"
#include "kernels/cuda/testing/cuda_variants.h"
#include "kernels/reference/reference_backend.h"
#include "kernels/testing/aligned_vector.h"
#include "kernels/testing/step_builder.h"

namespace phalanx::kernels {
namespace {

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

struct Heads {
  int q_heads;
  int kv_heads;
  int head_dim;
  int unrotated = 0;  // Dimensions of a head that are not rotated.

  int rotary_dim() const { return head_dim - unrotated; }
};

// One sequence: its rows of q, k and v, and its blocks.
struct Sequence {
  BFloat16Matrix qkv;
  std::vector<int32_t> blocks;
};

constexpr float kScale = 0.125f;

// A backend with a cache, which steps write to and attend over.
class AttentionRun {
 public:
  // Keys and queries are turned by multiples of `frequency`.
  AttentionRun(Backend& backend, const Heads& heads, int num_blocks, KvDType dtype, float frequency)
      : backend_(backend),
        heads_(heads),
        frequency_(frequency),
        stream_(backend.NewStream()),
        cache_(*backend.AllocateKvCache({.num_layers = 1,
                                         .num_blocks = num_blocks,
                                         .num_kv_heads = heads.kv_heads,
                                         .head_dim = heads.head_dim,
                                         .dtype = dtype})) {}

  struct Chunk {
    Sequence* sequence;
    int first;
    int count;
  };

  // With the ops apart, or together as RopeAttention.
  AlignedVector<uint16_t> Step(const std::vector<Chunk>& chunks, bool together = false) {
    StepBuilder step(64);
    const int64_t cols = int64_t{heads_.q_heads + 2 * heads_.kv_heads} * heads_.head_dim;
    int64_t tokens = 0;
    for (const Chunk& c : chunks) {
      step.Add(c.first, c.count, c.sequence->blocks, 0);
      tokens += c.count;
    }
    BFloat16Matrix qkv(tokens, cols);
    auto to = qkv.bits().begin();
    for (const Chunk& c : chunks) {
      to = std::copy_n(c.sequence->qkv.bits().begin() + c.first * cols, c.count * cols, to);
    }
    FloatMatrix inv_freq(1, heads_.rotary_dim() / 2, frequency_);
    for (int j = 0; j < heads_.rotary_dim() / 2; ++j) {
      inv_freq.values()[j] /= static_cast<float>(1 + j);
    }
    FloatMatrix cos_sin(tokens, heads_.rotary_dim(), 0.0f);
    BFloat16Matrix out(tokens, int64_t{heads_.q_heads} * heads_.head_dim);
    backend_.RopeAngles(*stream_, step.batch(), inv_freq.tensor(), 1.0f, cos_sin.tensor());
    if (together) {
      backend_.RopeAttention(*stream_, step.batch(), cos_sin.tensor(), heads_.q_heads, qkv.tensor(),
                             kScale, *cache_, 0, out.tensor());
    } else {
      backend_.RopeAndWriteKv(*stream_, step.batch(), cos_sin.tensor(), heads_.q_heads,
                              qkv.tensor(), *cache_, 0);
      backend_.PagedAttention(*stream_, step.batch(), qkv.tensor(), heads_.q_heads, kScale, *cache_,
                              0, out.tensor());
    }
    EXPECT_TRUE(stream_->Synchronize().ok());
    return out.bits();
  }

 private:
  Backend& backend_;
  const Heads heads_;
  const float frequency_;
  const std::unique_ptr<Stream> stream_;
  const std::unique_ptr<KvCache> cache_;
};

// Of tests that compare bits.
constexpr float kFrequency = 0.25f;

// Sequences of the given lengths, in shuffled blocks.
std::vector<Sequence> MakeSequences(const Heads& heads, const std::vector<int>& lengths,
                                    int* num_blocks) {
  const int64_t cols = int64_t{heads.q_heads + 2 * heads.kv_heads} * heads.head_dim;
  std::vector<Sequence> sequences;
  int next = 0;
  for (const int length : lengths) {
    Sequence sequence = {BFloat16Matrix(length, cols, static_cast<uint32_t>(length)), {}};
    for (int i = 0; i < (length + 15) / 16; ++i) sequence.blocks.push_back(next++);
    sequences.push_back(std::move(sequence));
  }
  std::vector<int32_t> all(next);
  for (int i = 0; i < next; ++i) all[i] = i;
  std::shuffle(all.begin(), all.end(), std::mt19937(5));
  for (Sequence& sequence : sequences) {
    for (int32_t& block : sequence.blocks) block = all[block];
  }
  *num_blocks = next;
  return sequences;
}

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
