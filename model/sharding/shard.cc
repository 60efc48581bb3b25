#include "model/sharding/shard.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

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

// The attention weights that ranks 0 to rank - 1 hold: the q and out rows of their query heads, the
// k and v rows of their KV heads.
double AttentionWeightsBefore(const ModelSpec& spec, int rank, int world) {
  const double kv_heads =
      rank == world ? spec.num_kv_heads : EvenPart(spec.num_kv_heads, rank, world).begin;
  const int q_per_kv = spec.num_q_heads / spec.num_kv_heads;
  return kv_heads * (2 * q_per_kv + 2) * spec.head_dim * spec.hidden;
}

// Where the FFN columns of rank `rank` begin: the ranks before it hold rank / world of all weights,
// as nearly as units allow.
int FfnBegin(const ModelSpec& spec, int rank, int world) {
  if (rank == 0) return 0;
  if (rank == world) return spec.ffn;
  // Gate, up and down.
  const double weights_per_column = 3.0 * spec.hidden;
  const double all = AttentionWeightsBefore(spec, world, world) + weights_per_column * spec.ffn;
  const double wanted = all * rank / world - AttentionWeightsBefore(spec, rank, world);
  const int unit = FfnUnit(spec, world);
  const int units = spec.ffn / unit;
  const int cut = static_cast<int>(std::lround(wanted / weights_per_column / unit));
  // Each rank keeps at least one unit.
  return std::clamp(cut, rank, units - (world - rank)) * unit;
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
