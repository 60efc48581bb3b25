// Which prompts a plan takes in: the part of Scheduler that looks at deadlines, turns, and blocks
// that others compute. The rest is in scheduler.cc.
#include <algorithm>
#include <optional>

#include "kernels/step_batch.h"
#include "worker/engine/scheduler.h"

namespace phalanx {

using kernels::kKvBlockTokens;

void Scheduler::PlanPrompts(absl::Time now, StepPlan& plan) {
  queue_.Deal(tokens_left_, [&](Sequence& sequence, int most_tokens) {
    return TakePrompt(sequence, most_tokens, now, plan);
  });
}

// Gives the sequence up to that many tokens of the plan, and returns how many. Admits it if it
// waits.
int Scheduler::TakePrompt(Sequence& sequence, int most_tokens, absl::Time now, StepPlan& plan) {
  if (sequence.slot < 0) {
    if (!admits_ || sequence.late || AwaitsBlocks(sequence)) return 0;
    if (!HasRoom(sequence)) {
      // Others must wait too, or those that are shorter could pass it again and again.
      admits_ = false;
      return 0;
    }
    const int hits = blocks_.FindHits(sequence).blocks;
    if (IsLate(sequence, sequence.pending() - hits * kKvBlockTokens, now, plan)) return 0;
    if (FindAwaitedBlocks(sequence)) return 0;
    Start(sequence);
  }
  if (!CanTake(sequence)) return 0;
  const int tokens =
      TokensThatFit(sequence, std::min(sequence.pending() - sequence.granted, most_tokens));
  if (tokens > 0) Grant(sequence, tokens);
  return tokens;
}

// Whether the sequence still waits for blocks of another one.
bool Scheduler::AwaitsBlocks(Sequence& sequence) {
  if (sequence.awaited_blocks == 0) return false;
  const auto it = sequences_.find(sequence.awaited_sequence);
  if (it != sequences_.end()) {
    const Sequence& other = *it->second;
    if (other.slot >= 0 && other.offered_blocks < sequence.awaited_blocks &&
        other.rope.list == sequence.rope.list) {
      return true;
    }
  }
  sequence.awaited_blocks = 0;
  return false;
}

// Whether the sequence, which could begin, is to wait for blocks that another one computes.
bool Scheduler::FindAwaitedBlocks(Sequence& sequence) {
  if (!sequence.caches) return false;
  const int hits = blocks_.FindHits(sequence).blocks;
  // Its last token is computed in any case.
  const int most = (sequence.num_tokens() - 1) / kKvBlockTokens;
  for (const Sequence* other : running_) {
    if (!(other->rank < sequence.rank)) break;
    // A sequence that decodes has offered all that it has.
    if (!other->in_queue && !other->resumes) continue;
    if (other->tenant != sequence.tenant || !MaySharePrefix(*other, sequence)) continue;
    const int common = std::min(CommonBlocks(*other, sequence), most);
    if (common <= std::max(hits, other->offered_blocks)) continue;
    sequence.awaited_blocks = common;
    sequence.awaited_sequence = other->id;
    return true;
  }
  return false;
}

void Scheduler::FindLate(absl::Time now, StepPlan& plan) {
  for (const SequenceId id : arrived_) {
    const auto it = sequences_.find(id);
    if (it == sequences_.end()) continue;
    Sequence& sequence = *it->second;
    sequence.own_tokens = OwnTokens(sequence);
    if (sequence.deadline == absl::InfiniteFuture()) continue;
    IsLate(sequence, queue_.TokensBefore(sequence) + sequence.own_tokens, now, plan);
  }
  arrived_.clear();
}

// How many tokens of a sequence that has come will have to be computed. Of those before it that it
// may begin like only a few are looked at: of equal requests, one after the other comes.
int Scheduler::OwnTokens(Sequence& sequence) {
  constexpr int kLookedAt = 8;
  if (!sequence.caches) return sequence.pending();
  int shared = blocks_.FindHits(sequence).blocks;
  queue_.LookBefore(sequence, kLookedAt, [&](const Sequence& other) {
    if (MaySharePrefix(other, sequence)) shared = std::max(shared, CommonBlocks(other, sequence));
  });
  // Its last token is computed in any case.
  shared = std::min(shared, (sequence.num_tokens() - 1) / kKvBlockTokens);
  return sequence.pending() - shared * kKvBlockTokens;
}

// Whether the first token of a sequence comes too late if `tokens` have to be computed before it.
bool Scheduler::IsLate(Sequence& sequence, int64_t tokens, absl::Time now, StepPlan& plan) {
  if (sequence.deadline == absl::InfiniteFuture()) return false;
  const std::optional<absl::Duration> estimate = speed_.TimeFor(tokens);
  if (!estimate.has_value() || now + *estimate <= sequence.deadline) return false;
  sequence.late = true;
  plan.late.push_back({.id = sequence.id, .estimate = *estimate});
  return true;
}

}  // namespace phalanx
