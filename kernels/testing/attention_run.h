// Runs steps of attention on a backend with a KV cache, for tests of ops.
#ifndef PHALANX_KERNELS_TESTING_ATTENTION_RUN_H_
#define PHALANX_KERNELS_TESTING_ATTENTION_RUN_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/ops.h"
#include "kernels/testing/aligned_vector.h"
#include "kernels/testing/matrix.h"

namespace phalanx::kernels {

// Of all attention here.
inline constexpr float kAttentionScale = 0.125f;

struct Heads {
  int q_heads;
  int kv_heads;
  int head_dim;
  int rotary_dim;

  int64_t qkv_cols() const { return int64_t{q_heads + 2 * kv_heads} * head_dim; }
};

// One sequence: its qkv rows before rotation, and its blocks, which DealBlocks fills in.
struct Sequence {
  Sequence(const Heads& heads, int num_tokens, int seed)
      : qkv(num_tokens, heads.qkv_cols(), seed), blocks((num_tokens + 15) / 16) {}
  Matrix qkv;
  std::vector<int32_t> blocks;
  int rope_list = 0;
};

// Gives every sequence its own blocks, shuffled; returns how many there are.
int DealBlocks(std::vector<Sequence>& sequences);

// Tokens [first, first + count) of a sequence.
struct Chunk {
  Sequence* sequence;
  int first;
  int count;
};

// How heads are turned.
enum class Turns {
  kAngles,  // By angles of two lists of frequencies, and multiplied by 1.25.
  // By a quarter at odd positions and not at even ones, and multiplied by 2: all backends get the
  // same bits.
  kQuarters,
};

// How a step is called for.
enum class AttentionOps {
  kApart,     // By RopeAndWriteKv and PagedAttention.
  kTogether,  // By RopeAttention.
};

// A backend with a cache of two layers, of which the second is used.
class AttentionRun {
 public:
  AttentionRun(Backend& backend, const Heads& heads, int num_blocks, KvDType dtype = KvDType::kF32,
               Turns turns = Turns::kAngles);

  // From now on queries are rounded first, to what a backend has that rounds them to bfloat16 after
  // it has multiplied them by the scale and by log2(e). Turns by quarters change nothing in that.
  void RoundQueries() { rounds_queries_ = true; }

  // Runs one step; returns the attention output of its tokens.
  Matrix Step(const std::vector<Chunk>& chunks, AttentionOps ops = AttentionOps::kApart);

  // The qkv rows of the last step, after rotation, if it was called for apart.
  const AlignedVector<float>& rotated() const { return rotated_; }

 private:
  Matrix& InverseFrequencies();
  void RoundQueriesOf(Matrix& qkv) const;
  void SetQuarterTurns(const StepBatch& batch, Matrix& cos_sin) const;

  Backend& backend_;
  const Heads heads_;
  const Turns turns_;
  const std::unique_ptr<Stream> stream_;
  const std::unique_ptr<KvCache> cache_;
  Matrix inv_freq_;
  AlignedVector<float> rotated_;
  bool rounds_queries_ = false;
};

// The size of the largest element.
double Largest(const AlignedVector<float>& values);

// No element of queries, keys or values is larger.
struct Sizes {
  double query;
  double key;
  double value;
};

// Bound on the error of an attention output over n tokens. A score is a sum of head_dim products:
// its error is that many roundings of at most head_dim * query * key. The error acts on a weight
// through its exponent, and once more through the maximum that is subtracted there. Queries and
// keys carry 4 roundings each from their rotation, and 2 more where keys have a scale. The
// exponential of a weight has 4 roundings; the sums over n tokens and over the chunks add at most n
// + 8, once in the sum of weighed values and once in the sum of weights that it is divided by; the
// scale of a value adds 2. An output is at most `value` in size.
double AttentionBound(const Heads& heads, int64_t n, const Sizes& sizes);

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_TESTING_ATTENTION_RUN_H_
