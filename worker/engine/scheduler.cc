#include "worker/engine/scheduler.h"

#include <algorithm>
#include <optional>

#include "base/log.h"

namespace phalanx {

Scheduler::Scheduler(const StepLimits& limits, std::pmr::memory_resource* memory)
    : limits_(limits), memory_(memory), allocator_(limits.kv_blocks) {
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
  sequence->tokens = std::move(task.prompt_token_ids);
  sequence->max_tokens = int64_t{sequence->num_tokens()} + task.max_new_tokens;
  waiting_.push_back(sequence.get());
  CHECK(sequences_.emplace(id, std::move(sequence)).second);
}

void Scheduler::Remove(SequenceId id) {
  const auto it = sequences_.find(id);
  CHECK(it != sequences_.end());
  Sequence* const sequence = it->second.get();
  FreeBlocks(*sequence);
  FreeSlot(*sequence);
  running_.erase(std::remove(running_.begin(), running_.end(), sequence), running_.end());
  waiting_.erase(std::remove(waiting_.begin(), waiting_.end(), sequence), waiting_.end());
  sequences_.erase(it);
}

StepPlan Scheduler::Plan() {
  StepPlan plan;
  tokens_left_ = limits_.max_step_tokens;
  PlanDecodes(plan);
  PlanPrefills(plan);
  AdmitWaiting(plan);
  // With nothing in flight the oldest sequence always gets a chunk: it is never preempted while
  // others run, and alone it fits (CanEverFit). Else the engine would turn its loop for ever
  // without a step.
  CHECK(!plan.chunks.empty() || sequences_.empty() || in_flight() > 0);
  if (!plan.chunks.empty()) Advance(plan);
  return plan;
}

void Scheduler::PlanDecodes(StepPlan& plan) {
  // Preemption takes sequences off the end of running_, up to number i at most. So what it takes
  // has no chunk in the plan yet, and those before i stay where they are.
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence& sequence = *running_[i];
    if (!sequence.can_advance()) continue;
    // Both do nothing for a sequence that has not grown since the last step: it was given the
    // blocks of its whole prompt when it was admitted.
    if (!MakeRoomFor(sequence, plan)) continue;
    AllocateBlocks(sequence);
    if (sequence.decodes()) AddChunk(sequence, 1, plan);
  }
}

void Scheduler::PlanPrefills(StepPlan& plan) {
  for (const Sequence* sequence : running_) {
    if (tokens_left_ == 0) break;
    // PlanDecodes has put it into the plan, or has found no room for it.
    if (!sequence->can_advance() || sequence->decodes() || sequence->missing_blocks() > 0) continue;
    AddChunk(*sequence, std::min(sequence->pending(), tokens_left_), plan);
  }
}

void Scheduler::AdmitWaiting(StepPlan& plan) {
  while (!waiting_.empty() && running() < limits_.max_seqs && tokens_left_ > 0) {
    Sequence& sequence = *waiting_.front();
    // One that was preempted has lost its slot, and has to know its tokens. Younger ones wait with
    // it, so that none passes it.
    if (!sequence.can_advance()) return;
    // A block is left for each running sequence to grow into: a newcomer that is preempted soon
    // would have been computed for nothing. If the oldest does not fit, younger ones that are
    // shorter must wait too, or they could pass it again and again.
    if (sequence.missing_blocks() + running() > allocator_.free_blocks()) return;
    waiting_.pop_front();
    running_.push_back(&sequence);
    sequence.slot = free_slots_.back();
    free_slots_.pop_back();
    AllocateBlocks(sequence);
    AddChunk(sequence, std::min(sequence.pending(), tokens_left_), plan);
  }
}

// Preempts the youngest sequences until the blocks that `sequence` is missing are free. Returns
// false if it cannot have them in this step: it was the youngest left and had to go itself, or it
// has to wait until steps in flight leave their blocks.
bool Scheduler::MakeRoomFor(Sequence& sequence, StepPlan& plan) {
  while (sequence.missing_blocks() > allocator_.free_blocks()) {
    const auto leaving = static_cast<int>(leaving_blocks_.size());
    if (sequence.missing_blocks() <= allocator_.free_blocks() + leaving) return false;
    const bool is_youngest = running_.back() == &sequence;
    PreemptYoungest(plan);
    if (is_youngest) return false;
  }
  return true;
}

void Scheduler::PreemptYoungest(StepPlan& plan) {
  Sequence* const youngest = running_.back();
  running_.pop_back();
  // To the front, because all that wait are younger. The tokens that were drawn stay: they have
  // been sent to the client, and are computed again like a longer prompt.
  waiting_.push_front(youngest);
  FreeBlocks(*youngest);
  FreeSlot(*youngest);
  youngest->computed = 0;
  ++plan.preemptions;
}

void Scheduler::AllocateBlocks(Sequence& sequence) {
  for (int missing = sequence.missing_blocks(); missing > 0; --missing) {
    const std::optional<BlockId> block = allocator_.Allocate();
    CHECK(block.has_value());
    sequence.blocks.push_back(*block);
  }
}

void Scheduler::FreeBlocks(Sequence& sequence) {
  for (const BlockId block : sequence.blocks) {
    if (sequence.last_step > resolved_steps_) {
      // Not all sequences have been in the latest step, but blocks leave in order.
      leaving_blocks_.emplace_back(planned_steps_, block);
    } else {
      allocator_.Free(block);
    }
  }
  sequence.blocks.clear();
  sequence.blocks_told = 0;
}

// The slot may be given out at once: steps change the block tables in the order of their plans.
void Scheduler::FreeSlot(Sequence& sequence) {
  if (sequence.slot >= 0) free_slots_.push_back(sequence.slot);
  sequence.slot = -1;
}

void Scheduler::AddChunk(const Sequence& sequence, int num_tokens, StepPlan& plan) {
  PlannedChunk chunk{.id = sequence.id, .num_tokens = num_tokens};
  const int end = sequence.computed + num_tokens;
  if (sequence.score) {
    // Positions that a preempted sequence computes a second time have been scored.
    chunk.num_scores = std::max(0, end - std::max(sequence.computed, sequence.scored));
  } else if (end == sequence.num_tokens()) {
    // The logits of earlier tokens of a prompt are not needed: the token that follows is known.
    chunk.draws = true;
    chunk.draw_position = end;
  }
  tokens_left_ -= num_tokens;
  plan.chunks.push_back(chunk);
}

// Writes the step and takes it as computed from now on.
void Scheduler::Advance(StepPlan& plan) {
  std::vector<ChunkOfSequence> parts;
  parts.reserve(plan.chunks.size());
  for (const PlannedChunk& chunk : plan.chunks) {
    parts.push_back({&chunk, sequences_.at(chunk.id).get()});
  }
  plan.step = WriteStep(parts, memory_);
  ++planned_steps_;
  for (const PlannedChunk& chunk : plan.chunks) {
    Sequence& sequence = *sequences_.at(chunk.id);
    sequence.last_step = planned_steps_;
    sequence.computed += chunk.num_tokens;
    sequence.scored += chunk.num_scores;
    sequence.blocks_told = std::max(sequence.blocks_told, BlocksFor(sequence.computed));
    if (chunk.draws) AppendDrawn(sequence);
  }
}

// Appends the token that a step draws, before it is known.
void Scheduler::AppendDrawn(Sequence& sequence) {
  sequence.tokens.push_back(kernels::kLastToken);
  ++sequence.unknown;
  // Keys that were rotated with the short list do not go with queries of the long one, so the
  // sequence is computed anew from its first token. Its blocks hold enough tokens for that, and the
  // new plan has no border, so that this happens once.
  const int border = sequence.rope.switch_above_tokens;
  if (border > 0 && sequence.num_tokens() > border) {
    sequence.rope = {.list = kLongRopeList};
    sequence.computed = 0;
  }
}

void Scheduler::Resolve(const StepPlan& plan, absl::Span<const int32_t> tokens) {
  CHECK(in_flight() > 0);
  ++resolved_steps_;
  auto token = tokens.begin();
  for (const PlannedChunk& chunk : plan.chunks) {
    if (!chunk.draws) continue;
    CHECK(token != tokens.end());
    const auto it = sequences_.find(chunk.id);
    if (it != sequences_.end()) {
      it->second->tokens[chunk.draw_position] = *token;
      --it->second->unknown;
    }
    ++token;
  }
  CHECK(token == tokens.end());
  FreeLeavingBlocks();
}

void Scheduler::DropInFlight() {
  resolved_steps_ = planned_steps_;
  FreeLeavingBlocks();
}

void Scheduler::FreeLeavingBlocks() {
  while (!leaving_blocks_.empty() && leaving_blocks_.front().first <= resolved_steps_) {
    allocator_.Free(leaving_blocks_.front().second);
    leaving_blocks_.pop_front();
  }
}

}  // namespace phalanx
