#include "worker/engine/scheduler.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/log.h"
#include "kernels/step_batch.h"

namespace phalanx {

using kernels::kKvBlockTokens;

Scheduler::Scheduler(const StepLimits& limits, bool prefix_cache, std::pmr::memory_resource* memory)
    : limits_(limits),
      memory_(memory),
      prefix_cache_(prefix_cache),
      blocks_(limits.kv_blocks),
      speed_(limits.max_step_tokens) {
  CHECK(limits.max_seqs >= 1) << limits.max_seqs;
  // PlanDecodes takes a token of each running sequence without looking for room in the step.
  CHECK(limits.max_step_tokens >= limits.max_seqs)
      << limits.max_step_tokens << " tokens for " << limits.max_seqs << " sequences";
  for (int slot = limits.max_seqs - 1; slot >= 0; --slot) free_slots_.push_back(slot);
}

Scheduler::~Scheduler() = default;

bool Scheduler::CanEverFit(const StepLimits& limits, int64_t num_tokens) {
  return BlocksFor(num_tokens) <= std::min(limits.kv_blocks, limits.max_blocks_per_seq);
}

void Scheduler::Add(SequenceId id, Task task) {
  CHECK(task.prompt_token_ids.size() >= (task.score ? 2 : 1));
  auto sequence = std::make_unique<Sequence>();
  sequence->id = id;
  sequence->sampling = task.sampling;
  sequence->seed = task.seed;
  sequence->rope = task.rope;
  sequence->score = task.score;
  sequence->draws = task.max_new_tokens > 0;
  sequence->prompt_tokens = static_cast<int>(task.prompt_token_ids.size());
  sequence->log_probs = task.log_probs;
  sequence->rules = std::move(task.rules);
  if (task.max_draft_tokens > 0 && sequence->draws) {
    sequence->speculation = std::make_unique<Speculation>(task.max_draft_tokens);
    ++speculating_;
  }
  sequence->caches = prefix_cache_ && !task.score;
  sequence->cache_salt = std::move(task.cache_salt);
  sequence->tokens = std::move(task.prompt_token_ids);
  sequence->max_tokens = int64_t{sequence->num_tokens()} + task.max_new_tokens;
  sequence->rank = {.time = task.arrival - task.priority * kAgeing, .id = id};
  if (sequence->draws) sequence->deadline = task.deadline;
  arrived_.push_back(id);
  queue_.Add(*sequence, task.tenant);
  waiting_tokens_ += sequence->num_tokens();
  CHECK(sequences_.emplace(id, std::move(sequence)).second);
}

void Scheduler::Remove(SequenceId id, bool sound) {
  const auto it = sequences_.find(id);
  CHECK(it != sequences_.end());
  Sequence* const sequence = it->second.get();
  if (!sound) {
    sequence->caches = false;
    blocks_.Forget(*sequence);
  }
  blocks_.Release(*sequence);
  if (sequence->slot < 0) waiting_tokens_ -= sequence->num_tokens();
  FreeSlot(*sequence);
  queue_.Remove(*sequence);
  EraseByRank(*sequence, running_);
  EraseByRank(*sequence, preempted_);
  if (sequence->speculation != nullptr) --speculating_;
  sequences_.erase(it);
}

StepPlan Scheduler::Plan(absl::Time now) {
  CHECK(!sampling_is_due_);
  StepPlan plan;
  tokens_left_ = limits_.max_step_tokens;
  table_entries_left_ = limits_.max_blocks_per_seq;
  edits_left_ = kMaxStepEdits;
  admits_ = true;
  FindLate(now, plan);
  ReadTexts();
  PlanDecodes(plan);
  reserved_blocks_ = ReservedBlocks();
  PlanResumed();
  PlanPrompts(now, plan);
  PlanDrafts();
  plan.chunks.reserve(granted_.size());
  for (Sequence* sequence : granted_) AddChunk(*sequence, plan);
  // With nothing in flight the first of the running sequences always has something to compute, and
  // if none runs, the first one that is asked fits (CanEverFit). Else the engine would turn its
  // loop for ever without a step.
  CHECK(!plan.chunks.empty() || !plan.late.empty() || sequences_.empty() || in_flight() > 0);
  if (!plan.chunks.empty()) Advance(plan);
  granted_.clear();
  return plan;
}

void Scheduler::PlanDecodes(StepPlan& plan) {
  // Preemption takes sequences off the end of running_, up to number i at most. So what it takes
  // has no part in the plan yet, and those before i stay where they are.
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence& sequence = *running_[i];
    if (!sequence.can_advance()) continue;
    // Both do nothing for a sequence that has not grown since the last step: it was given the
    // blocks of its whole prompt when it was admitted.
    if (!MakeRoomFor(sequence, plan)) continue;
    blocks_.Allocate(sequence);
    if (!sequence.decodes() || !FitsTables(sequence)) continue;
    if (TokensThatFit(sequence, 1) == 0) continue;
    Grant(sequence, 1);
    queue_.Charge(sequence, 1);
  }
}

void Scheduler::PlanResumed() {
  const auto grant = [this](Sequence& sequence) {
    const int tokens = TokensThatFit(sequence, std::min(sequence.pending(), tokens_left_));
    if (tokens == 0) return;
    Grant(sequence, tokens);
    queue_.Charge(sequence, tokens);
  };
  for (Sequence* sequence : running_) {
    if (tokens_left_ == 0) return;
    if (sequence->resumes && sequence->granted == 0 && CanTake(*sequence)) grant(*sequence);
  }
  while (!preempted_.empty() && tokens_left_ > 0) {
    Sequence& sequence = *preempted_.front();
    if (!HasRoom(sequence)) {
      admits_ = false;
      return;
    }
    preempted_.erase(preempted_.begin());
    Start(sequence);
    grant(sequence);
  }
}

// Whether a sequence that waits can begin now, or begin again.
bool Scheduler::HasRoom(Sequence& sequence) {
  // One that was preempted has lost its slot, and has to know its tokens.
  if (running() >= limits_.max_seqs || !sequence.can_advance()) return false;
  // A newcomer that is preempted soon would have been computed for nothing, so room is left for
  // the others.
  const int room = blocks_.unused() - reserved_blocks_ - running();
  const int most_hits = (sequence.num_tokens() - 1) / kKvBlockTokens;
  if (sequence.missing_blocks() - most_hits > room) return false;
  const SequenceBlocks::Hits hits = blocks_.FindHits(sequence);
  // The block tables of others may fill this step. The next one has room.
  return sequence.missing_blocks() - hits.in_use <= room && hits.blocks <= table_entries_left_;
}

// Lets a sequence run that there is room for.
void Scheduler::Start(Sequence& sequence) {
  InsertByRank(sequence, running_);
  sequence.slot = free_slots_.back();
  free_slots_.pop_back();
  waiting_tokens_ -= sequence.num_tokens();
  sequence.Reserve();
  blocks_.Allocate(sequence);
}

// Blocks that newcomers leave alone beside the one that each running sequence may grow into.
int Scheduler::ReservedBlocks() const {
  int blocks = 0;
  for (const Sequence* sequence : running_) {
    if (sequence->begins()) blocks += sequence->missing_blocks();
  }
  return blocks;
}

// Preempts the last sequences until the blocks that `sequence` is missing are there. Returns false
// if it cannot have them in this step: it was the last one left and had to go itself, or it has to
// wait until steps in flight leave their blocks.
bool Scheduler::MakeRoomFor(Sequence& sequence, StepPlan& plan) {
  while (true) {
    // Counted anew each time: what others release may be what this one finds in the cache.
    const int needed = blocks_.UnusedNeeded(sequence);
    if (needed <= blocks_.unused()) return true;
    if (needed <= blocks_.unused() + blocks_.leaving()) return false;
    const bool is_last = running_.back() == &sequence;
    PreemptLast();
    ++plan.preemptions;
    if (is_last) return false;
  }
}

void Scheduler::PreemptLast() {
  Sequence* const last = running_.back();
  running_.pop_back();
  // The tokens that were drawn stay: they have been sent to the client, and are computed again like
  // a longer prompt.
  queue_.TakeOut(*last);
  last->resumes = true;
  InsertByRank(*last, preempted_);
  blocks_.Release(*last);
  FreeSlot(*last);
  waiting_tokens_ += last->num_tokens();
  last->computed = 0;
}

void Scheduler::BeginAnew() {
  for (const auto& [id, sequence] : sequences_) ForgetUnknown(*sequence);
  while (!running_.empty()) PreemptLast();
  DropInFlight();
}

void Scheduler::DropInFlight() {
  blocks_.DropInFlight();
  sampling_is_due_ = false;
}

// Takes back what steps in flight were to give to the sequence.
void Scheduler::ForgetUnknown(Sequence& sequence) {
  if (sequence.slot < 0) waiting_tokens_ -= sequence.unknown;
  sequence.tokens.resize(sequence.tokens.size() - sequence.unknown);
  sequence.unknown = 0;
  sequence.scored = sequence.scores_known;
  // The token with which it outgrew its rotary list has to be drawn again, with that list.
  if (sequence.outgrown_rope.has_value() &&
      sequence.num_tokens() <= sequence.outgrown_rope->switch_above_tokens) {
    sequence.rope = *sequence.outgrown_rope;
    sequence.outgrown_rope.reset();
    sequence.hashes.clear();
  }
}

// A step has room for an entry of a block table for each of its tokens, and for max_blocks_per_seq
// more. A sequence that begins needs these for what it took from the prefix cache.
bool Scheduler::FitsTables(const Sequence& sequence) const {
  return !sequence.begins() || sequence.computed / kKvBlockTokens <= table_entries_left_;
}

// How many of the next `most` tokens of a sequence the plan has room for. A token is drawn after
// the last one that is pending, and its logits may have more edits than the step has room for.
int Scheduler::TokensThatFit(const Sequence& sequence, int most) const {
  const bool draws = sequence.draws && sequence.granted + most == sequence.pending();
  if (most == 0 || !draws || sequence.rules == nullptr) return most;
  return sequence.most_edits() <= edits_left_ ? most : most - 1;
}

// The slot may be given out at once: steps change the block tables in the order of their plans.
void Scheduler::FreeSlot(Sequence& sequence) {
  if (sequence.slot >= 0) free_slots_.push_back(sequence.slot);
  sequence.slot = -1;
}

// Whether a running sequence can have a chunk, or a longer one: it has the blocks for it.
bool Scheduler::CanTake(const Sequence& sequence) const {
  if (sequence.granted > 0) return true;
  return sequence.can_advance() && sequence.missing_blocks() == 0 && FitsTables(sequence);
}

// Gives the sequence tokens of the plan that is being made.
void Scheduler::Grant(Sequence& sequence, int num_tokens) {
  if (sequence.granted == 0) {
    granted_.push_back(&sequence);
    if (sequence.begins()) table_entries_left_ -= sequence.computed / kKvBlockTokens;
  }
  sequence.granted += num_tokens;
  tokens_left_ -= num_tokens;
  if (sequence.draws && sequence.granted == sequence.pending()) {
    edits_left_ -= sequence.most_edits();
  }
}

void Scheduler::CheckReferences() const {
  std::vector<int> users = blocks_.LeavingUsers();
  for (const auto& [id, sequence] : sequences_) {
    for (const BlockId block : sequence->blocks) ++users[static_cast<size_t>(block)];
  }
  for (int block = 1; block <= limits_.kv_blocks; ++block) {
    const int counted = blocks_.pool().references(BlockId{block});
    CHECK(counted == users[block])
        << "block " << block << " counts " << counted << " users of " << users[block];
  }
}

Scheduler::Progress Scheduler::ProgressOf(SequenceId id) const {
  const Sequence& sequence = *sequences_.at(id);
  return {.running = sequence.slot >= 0,
          .decodes = sequence.pending() <= 1,
          .known_tokens = sequence.num_tokens() - sequence.unknown,
          .computed_tokens = sequence.computed,
          .blocks = static_cast<int>(sequence.blocks.size())};
}

}  // namespace phalanx
