// Tells which part of a model belongs to which rank: a pure function of (spec, rank, world).
#ifndef PHALANX_MODEL_SHARDING_SHARD_H_
#define PHALANX_MODEL_SHARDING_SHARD_H_

#include "absl/status/statusor.h"
#include "model/spec/spec.h"

namespace phalanx {

// A half-open range of rows, columns or heads.
struct Range {
  int begin = 0;
  int end = 0;
  int size() const { return end - begin; }
};

// One rank's part. The ranges of all ranks make up the whole, in rank order.
// - KV heads are given out as evenly as possible, lower ranks first (3 over 2 ranks are 2 and 1).
//   Query heads follow their KV head.
// - FFN columns are cut at multiples of the quantization block (or of 32 if there are too few of
//   these) as evenly as possible, whatever heads a rank has: ranks wait for each other after
//   attention and again after the FFN, so more of the one cannot make up for less of the other.
// - Vocabulary rows are given out as evenly as possible, for embedding and logits alike.
struct Shard {
  int rank = 0;
  int world = 1;
  Range kv_heads;
  Range q_heads;
  Range ffn;
  Range vocab;
};

// INVALID_ARGUMENT if rank is not in [0, world) or world is not in [1, num_kv_heads] (the message
// tells the largest), or if a rank would be left without FFN columns or vocabulary rows.
absl::StatusOr<Shard> ShardModel(const ModelSpec& spec, int rank, int world);

}  // namespace phalanx

#endif  // PHALANX_MODEL_SHARDING_SHARD_H_
