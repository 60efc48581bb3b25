#include "worker/group/step_plan_codec.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"

namespace phalanx {
namespace {

using Numbers = google::protobuf::RepeatedField<int32_t>;

// FNV-1a over 32-bit words. A product carries bits upwards only, so the high half is folded back
// into the low one.
uint64_t Mix(uint64_t hash, uint32_t word) {
  hash = (hash ^ word) * 0x100000001b3;
  return hash ^ (hash >> 32);
}

uint64_t Mix(uint64_t hash, absl::Span<const int32_t> words) {
  // The length too: else a number could move from one array to the next and nobody would notice.
  hash = Mix(hash, static_cast<uint32_t>(words.size()));
  for (const int32_t word : words) hash = Mix(hash, static_cast<uint32_t>(word));
  return hash;
}

uint64_t HashAfter(uint64_t hash, uint64_t step, const StepInput& input) {
  hash = Mix(hash, static_cast<uint32_t>(step));
  hash = Mix(hash, input.token_ids);
  hash = Mix(hash, input.positions);
  hash = Mix(hash, input.query_starts);
  hash = Mix(hash, input.kv_lengths);
  hash = Mix(hash, input.block_tables);
  hash = Mix(hash, static_cast<uint32_t>(input.max_blocks_per_seq));
  hash = Mix(hash, input.logit_rows);
  hash = Mix(hash, input.rope_lists);
  return Mix(hash, input.score_rows);
}

void Assign(absl::Span<const int32_t> from, Numbers* to) {
  to->Clear();
  to->Add(from.begin(), from.end());
}

std::vector<int32_t> ToVector(const Numbers& from) { return {from.begin(), from.end()}; }

}  // namespace

void StepSequence::Encode(const StepInput& input, worker::v1::StepPlan* plan) {
  hash_ = HashAfter(hash_, next_step_, input);
  plan->set_epoch(epoch_);
  plan->set_step(next_step_++);
  plan->set_hash(hash_);
  Assign(input.token_ids, plan->mutable_token_ids());
  Assign(input.positions, plan->mutable_positions());
  Assign(input.query_starts, plan->mutable_query_starts());
  Assign(input.kv_lengths, plan->mutable_kv_lengths());
  Assign(input.block_tables, plan->mutable_block_tables());
  plan->set_max_blocks_per_seq(input.max_blocks_per_seq);
  Assign(input.logit_rows, plan->mutable_logit_rows());
  Assign(input.rope_lists, plan->mutable_rope_lists());
  Assign(input.score_rows, plan->mutable_score_rows());
}

absl::StatusOr<StepInput> StepSequence::Decode(const worker::v1::StepPlan& plan) {
  if (plan.epoch() != epoch_ || plan.step() != next_step_) {
    return absl::InternalError(absl::StrCat("expected step ", next_step_, " of epoch ", epoch_,
                                            ", got step ", plan.step(), " of epoch ",
                                            plan.epoch()));
  }
  StepInput input{.token_ids = ToVector(plan.token_ids()),
                  .positions = ToVector(plan.positions()),
                  .query_starts = ToVector(plan.query_starts()),
                  .kv_lengths = ToVector(plan.kv_lengths()),
                  .block_tables = ToVector(plan.block_tables()),
                  .max_blocks_per_seq = plan.max_blocks_per_seq(),
                  .rope_lists = ToVector(plan.rope_lists()),
                  .logit_rows = ToVector(plan.logit_rows()),
                  .sampling = {},
                  .score_rows = ToVector(plan.score_rows()),
                  .score_targets = {}};
  // Made of what has been decoded, so that it also shows a field that this side does not know.
  const uint64_t hash = HashAfter(hash_, next_step_, input);
  if (hash != plan.hash()) {
    return absl::InternalError(absl::StrCat("the plans up to step ", plan.step(),
                                            " differ: the leader's hash is ",
                                            absl::Hex(plan.hash()), ", ours ", absl::Hex(hash)));
  }
  hash_ = hash;
  ++next_step_;
  return input;
}

}  // namespace phalanx
