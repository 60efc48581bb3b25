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
  // Of the tokens from the second on, how many have been scored.
  int scored = 0;
  // The prompt, then what was drawn.
  std::vector<int32_t> tokens;
  // Of these, how many are in the KV cache.
  int computed = 0;
  std::vector<BlockId> blocks;

  int num_tokens() const { return static_cast<int>(tokens.size()); }
  // Nothing follows the last token of a prompt that is scored.
  int pending() const { return num_tokens() - (score ? 1 : 0) - computed; }
  bool decodes() const { return pending() == 1; }
  int missing_blocks() const { return BlocksFor(num_tokens()) - static_cast<int>(blocks.size()); }
};

Scheduler::Scheduler(const StepLimits& limits) : limits_(limits), allocator_(limits.kv_blocks) {
  CHECK(limits.max_seqs >= 1) << limits.max_seqs;
  // A step must hold a token of each running sequence.
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
  CHECK(plan.chunks.empty() == sequences_.empty());
  return plan;
}

void Scheduler::PlanDecodes(StepPlan& plan) {
  // Preemption shortens running_ at its end, never before i.
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence& sequence = *running_[i];
    // All but those that grow have their blocks.
    if (!MakeRoomFor(sequence, plan)) break;
    AllocateBlocks(sequence);
    if (sequence.decodes()) AddChunk(sequence, 1, plan);
  }
}

void Scheduler::PlanPrefills(StepPlan& plan) {
  for (const Sequence* sequence : running_) {
    if (TokensLeft(plan) == 0) break;
    if (sequence->decodes()) continue;
    AddChunk(*sequence, std::min(sequence->pending(), TokensLeft(plan)), plan);
  }
}

void Scheduler::AdmitWaiting(StepPlan& plan) {
  while (!waiting_.empty() && running() < limits_.max_seqs && TokensLeft(plan) > 0) {
    Sequence& sequence = *waiting_.front();
    // A block of growth is left to each running sequence: a newcomer that has to be preempted at
    // once would be computed for nothing.
    if (sequence.missing_blocks() + running() > allocator_.free_blocks()) return;
    waiting_.pop_front();
    running_.push_back(&sequence);
    AllocateBlocks(sequence);
    AddChunk(sequence, std::min(sequence.pending(), TokensLeft(plan)), plan);
  }
}

// Returns false if `sequence` itself had to go.
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
  } else if (end == sequence.num_tokens()) {
    chunk.draws = true;
    AddDrawRow(sequence, plan);
  }
  plan.chunks.push_back(chunk);
}

// After the last token of the step.
void Scheduler::AddDrawRow(const Sequence& sequence, StepPlan& plan) const {
  plan.input.logit_rows.push_back(plan.input.num_tokens() - 1);
  const Sampling& sampling = sequence.sampling;
  plan.input.sampling.push_back({.temperature = sampling.temperature,
                                 .top_k = sampling.top_k,
                                 .top_p = sampling.top_p,
                                 .seed = sequence.seed,
                                 .position = sequence.num_tokens()});
}

// The positions [begin, end) are the last of the step. What a preempted sequence computes again has
// been scored.
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
    const int border = sequence.rope.switch_above_tokens;
    if (border > 0 && sequence.num_tokens() > border) {
      sequence.rope = {.list = kLongRopeList};
      sequence.computed = 0;
    }
  }
}

}  // namespace phalanx
