#include "model/sharding/shard.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace phalanx {
namespace {

// FFN columns are cut at multiples of a quantization block or, if there are too few of these, of
// the smallest one.
int FfnUnit(const ModelSpec& spec, int world) {
  return spec.ffn / spec.ffn_block >= world ? spec.ffn_block : 32;
}

// Part `index` of `total` items that are divided over `parts`; the first parts get one more if they
// do not divide evenly.
Range EvenPart(int total, int index, int parts) {
  const int least = total / parts;
  const int extra = total % parts;
  const int begin = index * least + std::min(index, extra);
  return {begin, begin + least + (index < extra ? 1 : 0)};
}

// Where the FFN columns of rank `rank` begin. Where units do not divide evenly, the last ranks get
// one more, because the first ones may have more heads.
int FfnBegin(const ModelSpec& spec, int rank, int world) {
  if (rank == world) return spec.ffn;
  const int unit = FfnUnit(spec, world);
  return spec.ffn / unit * rank / world * unit;
}

}  // namespace

absl::StatusOr<Shard> ShardModel(const ModelSpec& spec, int rank, int world) {
  if (world < 1 || world > spec.num_kv_heads) {
    return absl::InvalidArgumentError(absl::StrCat("a model of ", spec.num_kv_heads,
                                                   " KV heads cannot be split over ", world,
                                                   " ranks; at most ", spec.num_kv_heads));
  }
  if (rank < 0 || rank >= world) {
    return absl::InvalidArgumentError(absl::StrCat("rank ", rank, " of ", world));
  }
  // This does not depend on the rank, so either all ranks get at least one or all fail.
  if (world > 1 && (spec.ffn / FfnUnit(spec, world) < world || spec.vocab < world)) {
    return absl::InvalidArgumentError(
        absl::StrCat("FFN columns in units of ", FfnUnit(spec, world), " (", spec.ffn,
                     ") or vocabulary rows (", spec.vocab, ") do not reach for ", world, " ranks"));
  }
  Shard shard;
  shard.rank = rank;
  shard.world = world;
  shard.kv_heads = EvenPart(spec.num_kv_heads, rank, world);
  const int q_per_kv = spec.num_q_heads / spec.num_kv_heads;
  shard.q_heads = {shard.kv_heads.begin * q_per_kv, shard.kv_heads.end * q_per_kv};
  shard.ffn = {FfnBegin(spec, rank, world), FfnBegin(spec, rank + 1, world)};
  shard.vocab = EvenPart(spec.vocab, rank, world);
  return shard;
}

}  // namespace phalanx
