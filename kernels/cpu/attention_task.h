// Attention on the CPU backend: what one thread is given to do, and what it leaves.
#ifndef PHALANX_KERNELS_CPU_ATTENTION_TASK_H_
#define PHALANX_KERNELS_CPU_ATTENTION_TASK_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "kernels/kv_dtype.h"

namespace phalanx::kernels {

// Keys that are summed up by themselves, counted from a sequence's first token; what they give is
// then added up in order. So threads can share out a long sequence, and it has the same bits when
// they do not.
inline constexpr int kAttentionSegmentTokens = 1024;

// The query heads that share a KV head, of some successive tokens of a sequence. Row r is head
// r % num_heads of token r / num_heads.
struct AttentionTask {
  const float* query = nullptr;  // Of the first token, [num_heads, head_dim].
  int64_t query_stride = 0;      // Floats from a token to the next.
  int num_tokens = 0;
  int num_heads = 0;
  int head_dim = 0;
  int64_t num_keys = 0;  // That the first token sees; at least 1. Each next sees one more.
  const int32_t* blocks = nullptr;  // Block numbers of the sequence, from its first token.
  // Keys, values and scales of this layer and KV head in block 0; see kv_arena.h for the layout.
  KvDType dtype = KvDType::kF32;  // Or kBF16 or kInt8.
  const std::byte* keys = nullptr;
  const std::byte* values = nullptr;
  const std::byte* scales = nullptr;  // Only kInt8 has them.
  int64_t block_stride = 0;           // Bytes from a block to the next, for all three.
  float scale = 0.0f;
  // Memory of the thread, AttentionKernels::scratch_bytes, aligned to kTensorAlignment.
  std::byte* scratch = nullptr;

  int num_rows() const { return num_tokens * num_heads; }
  const float* query_of(int row) const {
    return query + row / num_heads * query_stride + int64_t{row % num_heads} * head_dim;
  }
  int64_t num_keys_of(int row) const { return num_keys + row / num_heads; }
  // Of the token that sees most.
  int64_t num_segments() const {
    return (num_keys + num_tokens - 1 + kAttentionSegmentTokens - 1) / kAttentionSegmentTokens;
  }
};

// What some keys give for one row, in memory: the largest score, the sum of exp(score - max), and
// the values weighed by these.
struct AttentionState {
  float* data;

  // States lie one behind the other, in whole vectors of 16 floats.
  static constexpr int64_t Floats(int head_dim) { return 16 + (int64_t{head_dim} + 15) / 16 * 16; }

  float& max() const { return data[0]; }
  float& sum() const { return data[1]; }
  float* values() const { return data + 16; }

  // As of no keys.
  void Clear(int head_dim) const {
    max() = -std::numeric_limits<float>::infinity();
    sum() = 0.0f;
    std::fill_n(values(), Floats(head_dim) - 16, 0.0f);
  }
};

// The inner loops of attention. What they give for a row does not depend on the other rows of its
// task.
struct AttentionKernels {
  // Adds up the keys of one segment for all rows of a task: states[r] is that of row r.
  void (*segment)(const AttentionTask& task, int64_t segment, float* states);
  // Adds the state over further keys to that over earlier ones.
  void (*merge)(AttentionState further, int head_dim, AttentionState total);
  // Of a task, at most; a task of one token may have more.
  int tile_rows;
  // What AttentionTask::scratch needs for so many rows; null: none. A multiple of 64.
  int64_t (*scratch_bytes)(int64_t rows, int head_dim);
};

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_CPU_ATTENTION_TASK_H_
