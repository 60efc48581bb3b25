// What Scheduler makes of a plan: the step that it writes, and the result that it books. What is
// planned is in scheduler.cc.
#include <algorithm>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "base/log.h"
#include "kernels/step_batch.h"
#include "worker/engine/scheduler.h"

namespace phalanx {

void Scheduler::AddChunk(const Sequence& sequence, StepPlan& plan) {
  PlannedChunk chunk{.id = sequence.id, .begin = sequence.computed, .num_tokens = sequence.granted};
  const int end = sequence.computed + sequence.granted;
  if (sequence.score) {
    // Positions that a preempted sequence computes a second time have been scored.
    const int scored_end = std::min(end, sequence.prompt_tokens - 1);
    chunk.first_score = std::max(sequence.computed, sequence.scored);
    chunk.num_scores = std::max(0, scored_end - chunk.first_score);
  }
  if (sequence.draws && end == sequence.num_tokens()) {
    // The logits of earlier tokens of a prompt are not needed: the token that follows is known.
    chunk.draws = true;
    chunk.draw_position = end - sequence.drafted;
    chunk.num_drafted = sequence.drafted;
    // A draft is known, if it is right.
    plan.sampling_follows |= sequence.rules != nullptr && (sequence.unknown > sequence.drafted ||
                                                           sequence.rules->mask_words() > 0);
  }
  if (sequence.last_step == 0) chunk.cached_tokens = sequence.computed;
  plan.chunks.push_back(chunk);
}

void Scheduler::WriteSampling(StepPlan& plan) {
  CHECK(std::exchange(plan.sampling_follows, false) && std::exchange(sampling_is_due_, false));
  std::vector<ChunkOfSequence> parts;
  parts.reserve(plan.chunks.size());
  for (PlannedChunk& chunk : plan.chunks) {
    const auto it = sequences_.find(chunk.id);
    if (it != sequences_.end()) {
      parts.push_back({&chunk, it->second.get()});
    } else {
      chunk.draws = false;
      chunk.num_drafted = 0;
      chunk.num_scores = 0;
      parts.push_back({&chunk, nullptr});
    }
  }
  WriteSampling(parts, plan);
}

void Scheduler::WriteSampling(std::vector<ChunkOfSequence>& parts, StepPlan& plan) const {
  const std::vector<std::vector<DrawRules>> rules = LookAhead(parts, plan);
  plan.step.sampling = phalanx::WriteSampling(parts, memory_);
}

// Writes the step, and takes it as computed from now on.
void Scheduler::Advance(StepPlan& plan) {
  std::vector<ChunkOfSequence> parts;
  parts.reserve(plan.chunks.size());
  for (size_t i = 0; i < plan.chunks.size(); ++i) parts.push_back({&plan.chunks[i], granted_[i]});
  plan.step.forward = WriteForward(parts, memory_);
  sampling_is_due_ = plan.sampling_follows;
  if (!plan.sampling_follows) WriteSampling(parts, plan);
  const uint64_t step = blocks_.BeginStep();
  for (size_t i = 0; i < plan.chunks.size(); ++i) {
    const PlannedChunk& chunk = plan.chunks[i];
    Sequence& sequence = *granted_[i];
    sequence.last_step = step;
    sequence.computed += chunk.num_tokens;
    sequence.granted = 0;
    sequence.drafted = 0;
    sequence.scored += chunk.num_scores;
    sequence.blocks_told = std::max(sequence.blocks_told, BlocksFor(sequence.computed));
    blocks_.Offer(sequence);
    if (sequence.pending() == 0) {
      queue_.TakeOut(sequence);
      sequence.resumes = false;
    }
    if (chunk.draws) AppendDrawn(sequence);
  }
}

// Appends the token that a step draws, before it is known.
void Scheduler::AppendDrawn(Sequence& sequence) {
  sequence.tokens.push_back(kernels::kLastToken);
  ++sequence.unknown;
  // Keys that were rotated with the short list do not go with queries of the long one, so the
  // sequence is computed anew from its first token. It leaves its blocks, since others may read
  // them. The new plan has no border, so that this happens once.
  const int border = sequence.rope.switch_above_tokens;
  if (border > 0 && sequence.num_tokens() > border) {
    blocks_.Release(sequence);
    sequence.outgrown_rope = sequence.rope;
    sequence.rope = {.list = kLongRopeList};
    sequence.hashes.clear();
    sequence.computed = 0;
    sequence.resumes = true;
  }
}

void Scheduler::Resolve(StepPlan& plan, absl::Span<const int32_t> tokens) {
  CHECK(in_flight() > 0);
  for (PlannedChunk& chunk : plan.chunks) {
    const auto it = sequences_.find(chunk.id);
    if (it != sequences_.end()) it->second->scores_known += chunk.num_scores;
    if (!chunk.draws) continue;
    CHECK(static_cast<int>(tokens.size()) >= chunk.num_draws());
    if (it != sequences_.end()) {
      Sequence& sequence = *it->second;
      const auto drafted = sequence.tokens.begin() + chunk.draw_position;
      const auto wrong = std::mismatch(drafted, drafted + chunk.num_draws() - 1, tokens.begin());
      chunk.num_accepted = static_cast<int>(wrong.first - drafted);
      *wrong.first = *wrong.second;
      --sequence.unknown;
      if (chunk.num_drafted > 0) BookDraft(sequence, chunk);
      for (const int32_t token : tokens.first(chunk.num_accepted + 1)) {
        if (sequence.rules != nullptr && token >= 0) sequence.rules->Accept(token);
      }
    }
    tokens.remove_prefix(chunk.num_draws());
  }
  CHECK(tokens.empty());
  blocks_.EndStep();
}

void Scheduler::NoteStepTime(const StepPlan& plan, absl::Duration time) {
  int64_t tokens = 0;
  for (const PlannedChunk& chunk : plan.chunks) tokens += chunk.num_tokens;
  speed_.Note(tokens, time);
}

}  // namespace phalanx
