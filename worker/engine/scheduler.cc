#include "worker/engine/scheduler.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/log.h"
#include "kernels/step_batch.h"

namespace phalanx {

using kernels::kKvBlockTokens;

Scheduler::Scheduler(const StepLimits& limits, bool prefix_cache, std::pmr::memory_resource* memory)
    : limits_(limits), memory_(memory), prefix_cache_(prefix_cache), pool_(limits.kv_blocks) {
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
  sequence->caches = prefix_cache_ && !task.score;
  sequence->cache_salt = std::move(task.cache_salt);
  sequence->tokens = std::move(task.prompt_token_ids);
  sequence->max_tokens = int64_t{sequence->num_tokens()} + task.max_new_tokens;
  waiting_.push_back(sequence.get());
  CHECK(sequences_.emplace(id, std::move(sequence)).second);
}

void Scheduler::Remove(SequenceId id, bool sound) {
  const auto it = sequences_.find(id);
  CHECK(it != sequences_.end());
  Sequence* const sequence = it->second.get();
  if (!sound) {
    sequence->caches = false;
    for (const BlockId block : sequence->blocks) pool_.Forget(block);
  }
  ReleaseBlocks(*sequence);
  FreeSlot(*sequence);
  running_.erase(std::remove(running_.begin(), running_.end(), sequence), running_.end());
  waiting_.erase(std::remove(waiting_.begin(), waiting_.end(), sequence), waiting_.end());
  sequences_.erase(it);
}

StepPlan Scheduler::Plan() {
  StepPlan plan;
  tokens_left_ = limits_.max_step_tokens;
  table_entries_left_ = limits_.max_blocks_per_seq;
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
    if (sequence.decodes() && FitsTables(sequence)) AddChunk(sequence, 1, plan);
  }
}

void Scheduler::PlanPrefills(StepPlan& plan) {
  for (const Sequence* sequence : running_) {
    if (tokens_left_ == 0) break;
    // PlanDecodes has put it into the plan, or has found no room for it.
    if (!sequence->can_advance() || sequence->decodes() || sequence->missing_blocks() > 0) continue;
    if (!FitsTables(*sequence)) continue;
    AddChunk(*sequence, std::min(sequence->pending(), tokens_left_), plan);
  }
}

void Scheduler::AdmitWaiting(StepPlan& plan) {
  if (waiting_.empty()) return;
  const int reserved = ReservedBlocks();
  while (!waiting_.empty() && running() < limits_.max_seqs && tokens_left_ > 0) {
    Sequence& sequence = *waiting_.front();
    // One that was preempted has lost its slot, and has to know its tokens. Younger ones wait with
    // it, so that none passes it.
    if (!sequence.can_advance()) return;
    // A newcomer that is preempted soon would have been computed for nothing, so room is left for
    // the others. If the oldest does not fit, younger ones that are shorter must wait too, or they
    // could pass it again and again.
    const int room = pool_.unused_blocks() - reserved - running();
    const int most_hits = (sequence.num_tokens() - 1) / kKvBlockTokens;
    if (sequence.missing_blocks() - most_hits > room) return;
    const Hits hits = FindHits(sequence);
    if (sequence.missing_blocks() - hits.in_use > room) return;
    // The block tables of others fill this step. The next one has room.
    if (hits.blocks > table_entries_left_) return;
    waiting_.pop_front();
    running_.push_back(&sequence);
    sequence.slot = free_slots_.back();
    free_slots_.pop_back();
    AllocateBlocks(sequence);
    AddChunk(sequence, std::min(sequence.pending(), tokens_left_), plan);
  }
}

// Blocks that newcomers leave alone beside the one that each running sequence may grow into.
int Scheduler::ReservedBlocks() const {
  int blocks = 0;
  for (const Sequence* sequence : running_) {
    if (sequence->begins()) blocks += sequence->missing_blocks();
  }
  return blocks;
}

// Preempts the youngest sequences until the blocks that `sequence` is missing are there. Returns
// false if it cannot have them in this step: it was the youngest left and had to go itself, or it
// has to wait until steps in flight leave their blocks.
bool Scheduler::MakeRoomFor(Sequence& sequence, StepPlan& plan) {
  while (true) {
    // Counted anew each time: what others release may be what this one finds in the cache.
    const int needed = UnusedBlocksNeeded(sequence);
    if (needed <= pool_.unused_blocks()) return true;
    if (needed <= pool_.unused_blocks() + LeavingBlocks()) return false;
    const bool is_youngest = running_.back() == &sequence;
    PreemptYoungest(plan);
    if (is_youngest) return false;
  }
}

// How many blocks will have no user once the steps in flight are resolved. One that two sequences
// have left is not counted.
int Scheduler::LeavingBlocks() const {
  return static_cast<int>(
      std::count_if(leaving_blocks_.begin(), leaving_blocks_.end(),
                    [this](const auto& leaving) { return pool_.references(leaving.second) == 1; }));
}

void Scheduler::PreemptYoungest(StepPlan& plan) {
  Sequence* const youngest = running_.back();
  running_.pop_back();
  // To the front, because all that wait are younger. The tokens that were drawn stay: they have
  // been sent to the client, and are computed again like a longer prompt.
  waiting_.push_front(youngest);
  ReleaseBlocks(*youngest);
  FreeSlot(*youngest);
  youngest->computed = 0;
  ++plan.preemptions;
}

// Makes sure that the hashes of the first `count` blocks are there. Their tokens must be known.
void Scheduler::HashBlocks(Sequence& sequence, int count) {
  while (static_cast<int>(sequence.hashes.size()) < count) {
    const size_t index = sequence.hashes.size();
    const BlockHash parent =
        index == 0 ? hasher_.Root(sequence.rope.list, sequence.cache_salt) : sequence.hashes.back();
    const absl::Span<const int32_t> tokens =
        absl::MakeConstSpan(sequence.tokens).subspan(index * kKvBlockTokens, kKvBlockTokens);
    sequence.hashes.push_back(hasher_.Next(parent, tokens));
  }
}

Scheduler::Hits Scheduler::FindHits(Sequence& sequence) {
  Hits hits;
  if (!sequence.caches) return hits;
  // The last token is computed in any case: what follows it is drawn from its logits.
  const int most = (sequence.num_tokens() - 1) / kKvBlockTokens;
  while (hits.blocks < most) {
    HashBlocks(sequence, hits.blocks + 1);
    const std::optional<BlockId> block = pool_.Find(sequence.hashes[hits.blocks]);
    if (!block.has_value()) break;
    ++hits.blocks;
    if (pool_.references(*block) > 0) ++hits.in_use;
  }
  return hits;
}

// How many blocks that nobody uses AllocateBlocks would take. Cached ones among them count too,
// whether for what they hold or not.
int Scheduler::UnusedBlocksNeeded(Sequence& sequence) {
  if (!sequence.blocks.empty()) return sequence.missing_blocks();
  return sequence.missing_blocks() - FindHits(sequence).in_use;
}

// Gives the sequence blocks for all its tokens, at first from the prefix cache if it has none yet.
void Scheduler::AllocateBlocks(Sequence& sequence) {
  if (sequence.blocks.empty()) {
    const int hits = FindHits(sequence).blocks;
    // All hits before any new block, for which one of them might be evicted.
    for (int i = 0; i < hits; ++i) {
      const BlockId block = *pool_.Find(sequence.hashes[i]);
      pool_.Reference(block);
      sequence.blocks.push_back(block);
    }
    sequence.computed = hits * kKvBlockTokens;
    sequence.offered_blocks = hits;
  }
  for (int missing = sequence.missing_blocks(); missing > 0; --missing) {
    const std::optional<BlockId> block = pool_.Allocate();
    CHECK(block.has_value());
    sequence.blocks.push_back(*block);
  }
}

// Lets others find the blocks that are complete: their tokens are known, and no later step writes
// to them.
void Scheduler::OfferBlocks(Sequence& sequence) {
  if (!sequence.caches) return;
  const int known = sequence.num_tokens() - sequence.unknown;
  const int complete = std::min(sequence.computed, known) / kKvBlockTokens;
  if (complete <= sequence.offered_blocks) return;
  HashBlocks(sequence, complete);
  for (int& i = sequence.offered_blocks; i < complete; ++i) {
    pool_.Register(sequence.blocks[i], sequence.hashes[i]);
  }
}

// The last block goes first: what is released earlier is evicted earlier, and the end of a prefix
// is of no use without its beginning.
void Scheduler::ReleaseBlocks(Sequence& sequence) {
  OfferBlocks(sequence);
  for (auto block = sequence.blocks.rbegin(); block != sequence.blocks.rend(); ++block) {
    if (sequence.last_step > resolved_steps_) {
      // Not all sequences have been in the latest step, but blocks leave in order.
      leaving_blocks_.emplace_back(planned_steps_, *block);
    } else {
      pool_.Release(*block);
    }
  }
  sequence.blocks.clear();
  sequence.blocks_told = 0;
  sequence.offered_blocks = 0;
}

// A step has room for an entry of a block table for each of its tokens, and for max_blocks_per_seq
// more. A sequence that begins needs these for what it took from the prefix cache.
bool Scheduler::FitsTables(const Sequence& sequence) const {
  return !sequence.begins() || sequence.computed / kKvBlockTokens <= table_entries_left_;
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
  if (sequence.begins()) table_entries_left_ -= sequence.computed / kKvBlockTokens;
  if (sequence.last_step == 0) chunk.cached_tokens = sequence.computed;
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
    OfferBlocks(sequence);
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
    ReleaseBlocks(sequence);
    sequence.rope = {.list = kLongRopeList};
    sequence.hashes.clear();
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
  ReleaseLeavingBlocks();
}

void Scheduler::DropInFlight() {
  resolved_steps_ = planned_steps_;
  ReleaseLeavingBlocks();
  pool_.ForgetAll();
}

void Scheduler::ReleaseLeavingBlocks() {
  while (!leaving_blocks_.empty() && leaving_blocks_.front().first <= resolved_steps_) {
    pool_.Release(leaving_blocks_.front().second);
    leaving_blocks_.pop_front();
  }
}

void Scheduler::CheckReferences() const {
  std::vector<int> users(static_cast<size_t>(limits_.kv_blocks) + 1);
  for (const auto& [id, sequence] : sequences_) {
    for (const BlockId block : sequence->blocks) ++users[static_cast<size_t>(block)];
  }
  for (const auto& [step, block] : leaving_blocks_) ++users[static_cast<size_t>(block)];
  for (int block = 1; block <= limits_.kv_blocks; ++block) {
    CHECK(pool_.references(BlockId{block}) == users[block])
        << "block " << block << " counts " << pool_.references(BlockId{block}) << " users of "
        << users[block];
  }
}

}  // namespace phalanx
