#include "worker/engine/scheduler.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/log.h"
#include "kernels/ops.h"

namespace phalanx {
namespace {

int BlocksFor(int64_t num_tokens) {
  return static_cast<int>((num_tokens + kernels::kKvBlockTokens - 1) / kernels::kKvBlockTokens);
}

}  // namespace

struct Scheduler::Sequence {
  SequenceId id;
  Sampling sampling;
  uint64_t seed = 0;
  RopePlan rope;
  bool score = false;
  // How many tokens have been scored. The first is never scored, so the next is tokens[scored + 1].
  int scored = 0;
  // The prompt, then what was drawn.
  std::vector<int32_t> tokens;
  // How many of `tokens` are in the KV cache.
  int computed = 0;
  // The sequence's share of the KV cache, in order of position.
  std::vector<BlockId> blocks;

  int num_tokens() const { return static_cast<int>(tokens.size()); }
  // Tokens that are still to be computed. Of a prompt that is scored the last is not: its logits
  // would tell about a token that follows, and none does.
  int pending() const { return num_tokens() - (score ? 1 : 0) - computed; }
  // One token is pending: the one that was drawn last, or the last of a prompt. The step takes
  // these before longer chunks, so that none waits behind another sequence's prompt.
  bool decodes() const { return pending() == 1; }
  int missing_blocks() const { return BlocksFor(num_tokens()) - static_cast<int>(blocks.size()); }
};

Scheduler::Scheduler(const StepLimits& limits) : limits_(limits), allocator_(limits.kv_blocks) {
  CHECK(limits.max_seqs >= 1) << limits.max_seqs;
  // PlanDecodes takes a token of each running sequence without looking for room in the step.
  CHECK(limits.max_step_tokens >= limits.max_seqs)
      << limits.max_step_tokens << " tokens for " << limits.max_seqs << " sequences";
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
  waiting_.push_back(sequence.get());
  CHECK(sequences_.emplace(id, std::move(sequence)).second);
}

void Scheduler::Remove(SequenceId id) {
  const auto it = sequences_.find(id);
  CHECK(it != sequences_.end());
  Sequence* const sequence = it->second.get();
  FreeBlocks(*sequence);
  running_.erase(std::remove(running_.begin(), running_.end(), sequence), running_.end());
  waiting_.erase(std::remove(waiting_.begin(), waiting_.end(), sequence), waiting_.end());
  sequences_.erase(it);
}

StepPlan Scheduler::Plan() {
  StepPlan plan;
  plan.input.query_starts.push_back(0);
  PlanDecodes(plan);
  PlanPrefills(plan);
  AdmitWaiting(plan);
  FillBlockTables(plan);
  // The oldest sequence always gets a chunk: it is never preempted while others run, and alone it
  // fits (CanEverFit). Else the engine would turn its loop for ever without a step.
  CHECK(plan.chunks.empty() == sequences_.empty());
  return plan;
}

void Scheduler::PlanDecodes(StepPlan& plan) {
  // Preemption takes sequences off the end of running_, up to number i at most. So what it takes
  // has no chunk in the plan yet, and those before i stay where they are.
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence& sequence = *running_[i];
    // Does nothing for a sequence that has not grown since the last step: it was given the blocks
    // of its whole prompt when it was admitted. The break is because `sequence` was the last.
    if (!MakeRoomFor(sequence, plan)) break;
    AllocateBlocks(sequence);
    if (sequence.decodes()) AddChunk(sequence, 1, plan);
  }
}

void Scheduler::PlanPrefills(StepPlan& plan) {
  for (const Sequence* sequence : running_) {
    if (TokensLeft(plan) == 0) break;
    // PlanDecodes has put it into the plan.
    if (sequence->decodes()) continue;
    AddChunk(*sequence, std::min(sequence->pending(), TokensLeft(plan)), plan);
  }
}

void Scheduler::AdmitWaiting(StepPlan& plan) {
  while (!waiting_.empty() && running() < limits_.max_seqs && TokensLeft(plan) > 0) {
    Sequence& sequence = *waiting_.front();
    // A block is left for each running sequence to grow into: a newcomer that is preempted soon
    // would have been computed for nothing. If the oldest does not fit, younger ones that are
    // shorter must wait too, or they could pass it again and again.
    if (sequence.missing_blocks() + running() > allocator_.free_blocks()) return;
    waiting_.pop_front();
    running_.push_back(&sequence);
    AllocateBlocks(sequence);
    AddChunk(sequence, std::min(sequence.pending(), TokensLeft(plan)), plan);
  }
}

// Preempts the youngest sequences until the blocks that `sequence` is missing are free. Returns
// false if it was the youngest left and had to go itself.
bool Scheduler::MakeRoomFor(Sequence& sequence, StepPlan& plan) {
  while (sequence.missing_blocks() > allocator_.free_blocks()) {
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
  for (const BlockId block : sequence.blocks) allocator_.Free(block);
  sequence.blocks.clear();
}

void Scheduler::AddChunk(const Sequence& sequence, int num_tokens, StepPlan& plan) const {
  StepInput& input = plan.input;
  const int end = sequence.computed + num_tokens;
  for (int position = sequence.computed; position < end; ++position) {
    input.token_ids.push_back(sequence.tokens[position]);
    input.positions.push_back(position);
  }
  input.query_starts.push_back(input.num_tokens());
  input.kv_lengths.push_back(end);
  input.rope_lists.push_back(sequence.rope.list);
  PlannedChunk chunk{.id = sequence.id, .num_tokens = num_tokens};
  if (sequence.score) {
    chunk.num_scores = AddScoreRows(sequence, sequence.computed, end, plan);
    // The logits of earlier tokens of a prompt are not needed: the token that follows is known.
  } else if (end == sequence.num_tokens()) {
    chunk.draws = true;
    AddDrawRow(sequence, plan);
  }
  plan.chunks.push_back(chunk);
}

// Asks for a token to be drawn after the token that the step has got last, which is the last one of
// `sequence`.
void Scheduler::AddDrawRow(const Sequence& sequence, StepPlan& plan) const {
  plan.input.logit_rows.push_back(plan.input.num_tokens() - 1);
  const Sampling& sampling = sequence.sampling;
  plan.input.sampling.push_back({.temperature = sampling.temperature,
                                 .top_k = sampling.top_k,
                                 .top_p = sampling.top_p,
                                 .seed = sequence.seed,
                                 .position = sequence.num_tokens()});
}

// Asks how likely the tokens are that follow positions [begin, end) of `sequence`, which are the
// last tokens that the step has got. Positions that a preempted sequence computes a second time
// have been scored, and are left out. Returns how many are asked for.
int Scheduler::AddScoreRows(const Sequence& sequence, int begin, int end, StepPlan& plan) const {
  const int first = std::max(begin, sequence.scored);
  for (int position = first; position < end; ++position) {
    plan.input.score_rows.push_back(plan.input.num_tokens() - (end - position));
    plan.input.score_targets.push_back(sequence.tokens[position + 1]);
  }
  return std::max(end - first, 0);
}

void Scheduler::FillBlockTables(StepPlan& plan) const {
  StepInput& input = plan.input;
  for (const int32_t length : input.kv_lengths) {
    input.max_blocks_per_seq = std::max(input.max_blocks_per_seq, BlocksFor(length));
  }
  // Of each sequence only the blocks up to the end of its chunk: the rest of its prompt has blocks
  // too, which this step does not use. Entries beyond that are never read.
  input.block_tables.assign(plan.chunks.size() * input.max_blocks_per_seq, 0);
  for (size_t i = 0; i < plan.chunks.size(); ++i) {
    const std::vector<BlockId>& blocks = sequences_.at(plan.chunks[i].id)->blocks;
    std::transform(blocks.begin(), blocks.begin() + BlocksFor(input.kv_lengths[i]),
                   input.block_tables.begin() + i * input.max_blocks_per_seq,
                   [](BlockId block) { return static_cast<int32_t>(block); });
  }
}

int Scheduler::TokensLeft(const StepPlan& plan) const {
  return limits_.max_step_tokens - plan.input.num_tokens();
}

void Scheduler::Commit(const StepPlan& plan, absl::Span<const int32_t> tokens) {
  CHECK(tokens.size() == plan.input.logit_rows.size());
  auto token = tokens.begin();
  for (const PlannedChunk& chunk : plan.chunks) {
    Sequence& sequence = *sequences_.at(chunk.id);
    sequence.computed += chunk.num_tokens;
    sequence.scored += chunk.num_scores;
    if (!chunk.draws) continue;
    sequence.tokens.push_back(*token++);
    // Keys that were rotated with the short list do not go with queries of the long one, so the
    // sequence is computed anew from its first token. Its blocks hold enough tokens for that, and
    // the new plan has no border, so that this happens once.
    const int border = sequence.rope.switch_above_tokens;
    if (border > 0 && sequence.num_tokens() > border) {
      sequence.rope = {.list = kLongRopeList};
      sequence.computed = 0;
    }
  }
}

}  // namespace phalanx
