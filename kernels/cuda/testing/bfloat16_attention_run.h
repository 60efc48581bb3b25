// Steps of attention on a backend with activations in bfloat16, for tests.
#ifndef PHALANX_KERNELS_CUDA_TESTING_BFLOAT16_ATTENTION_RUN_H_
#define PHALANX_KERNELS_CUDA_TESTING_BFLOAT16_ATTENTION_RUN_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/testing/bfloat16_matrix.h"
#include "kernels/ops.h"
#include "kernels/testing/aligned_vector.h"
#include "kernels/testing/step_builder.h"

namespace phalanx::kernels::bfloat16 {

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

inline constexpr float kScale = 0.125f;

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
inline constexpr float kFrequency = 0.25f;

// Sequences of the given lengths, in shuffled blocks.
inline std::vector<Sequence> MakeSequences(const Heads& heads, const std::vector<int>& lengths,
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

}  // namespace phalanx::kernels::bfloat16

#endif  // PHALANX_KERNELS_CUDA_TESTING_BFLOAT16_ATTENTION_RUN_H_
