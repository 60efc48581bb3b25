// Speculation: the part of Scheduler that guesses tokens, and drops those that were wrong. The rest
// is in scheduler.cc.
#include <algorithm>
#include <vector>

#include "absl/types/span.h"
#include "base/log.h"
#include "kernels/step_batch.h"
#include "worker/engine/scheduler.h"

namespace phalanx {

using kernels::kKvBlockTokens;

namespace {

// Of how many tokens a plan takes note, so that a long prompt that was found in the prefix cache
// delays nobody.
constexpr int kMostRead = 2048;

// The most edits that the draws after each of so many tokens of a draft have together. A token adds
// one at most to those of the draw before.
int MostEdits(const TokenRules& rules, int drafted) {
  return drafted * (rules.num_edits() + drafted);
}

}  // namespace

// Takes note of what sequences have had, for their next drafts.
void Scheduler::ReadTexts() {
  if (speculating_ == 0) return;
  int left = kMostRead;
  for (Sequence* sequence : running_) {
    if (sequence->speculation == nullptr) continue;
    left -= sequence->speculation->Read(sequence->known_tokens(), left);
  }
}

// Lets sequences that decode have drafts, as far as the plan has room that nobody else wanted. What
// it has is shared out evenly.
void Scheduler::PlanDrafts() {
  if (speculating_ == 0) return;
  int rows_left = limits_.max_seqs;
  int drafting = 0;
  for (const Sequence* sequence : granted_) {
    if (!sequence->draws || sequence->granted < sequence->pending()) continue;
    --rows_left;
    if (sequence->has_draft() && sequence->decodes()) ++drafting;
  }
  for (Sequence* sequence : granted_) {
    if (!sequence->has_draft() || !sequence->decodes() || sequence->unknown > 0) continue;
    const int share = std::min(rows_left, tokens_left_) / std::max(drafting--, 1);
    // What others may grow into is left alone, as by those that begin.
    const int blocks = blocks_.unused() - reserved_blocks_ - running();
    int most = std::max(std::min(share, DraftsThatFit(*sequence, blocks)), 0);
    if (sequence->rules != nullptr) most = DraftsWithEditsThatFit(*sequence->rules, most);
    const int drafted =
        CutDraft(*sequence, sequence->speculation->AppendDraft(sequence->tokens, most));
    if (drafted == 0) continue;
    sequence->drafted = drafted;
    sequence->granted += drafted;
    sequence->unknown += drafted;
    blocks_.Allocate(*sequence);
    queue_.Charge(*sequence, drafted);
    rows_left -= drafted;
    tokens_left_ -= drafted;
    if (sequence->rules != nullptr) edits_left_ -= MostEdits(*sequence->rules, drafted);
  }
}

// How many tokens a draft of the sequence may have with `blocks` more blocks. One token more is
// drawn than it has.
int Scheduler::DraftsThatFit(const Sequence& sequence, int blocks) const {
  const int64_t end =
      (int64_t{std::max(blocks, 0)} + static_cast<int64_t>(sequence.blocks.size())) *
      kKvBlockTokens;
  int64_t most = std::min(end, sequence.max_tokens - 1);
  const int border = sequence.rope.switch_above_tokens;
  if (border > 0) most = std::min<int64_t>(most, border - 1);
  return static_cast<int>(most - sequence.num_tokens());
}

// How many tokens of a draft, `most` at the most, may have all the edits that they need.
int Scheduler::DraftsWithEditsThatFit(const TokenRules& rules, int most) const {
  while (most > 0 && MostEdits(rules, most) > edits_left_) --most;
  return most;
}

// Takes the last `drafted` tokens off again from where the sequence's rules forbid them. Returns
// how many are left.
int Scheduler::CutDraft(Sequence& sequence, int drafted) {
  if (drafted == 0 || sequence.rules == nullptr) return drafted;
  const int known = sequence.num_tokens() - drafted;
  const int allowed =
      sequence.rules->CountAllowed(absl::MakeConstSpan(sequence.tokens).subspan(known));
  sequence.tokens.resize(known + allowed);
  // Else the result of the step tells how good the draft was.
  if (allowed == 0) sequence.speculation->Note(drafted, 0, known);
  return allowed;
}

// Works out what is asked of the draws of chunks that have a draft and rules, and points these to
// what it returns.
std::vector<std::vector<DrawRules>> Scheduler::LookAhead(std::vector<ChunkOfSequence>& parts,
                                                         StepPlan& plan) {
  std::vector<std::vector<DrawRules>> rules;
  for (size_t i = 0; i < parts.size(); ++i) {
    PlannedChunk& chunk = plan.chunks[i];
    if (chunk.num_drafted == 0 || parts[i].sequence->rules == nullptr) continue;
    rules.reserve(parts.size());
    rules.push_back(
        parts[i].sequence->rules->LookAhead(absl::MakeConstSpan(parts[i].sequence->tokens)
                                                .subspan(chunk.draw_position, chunk.num_drafted)));
    parts[i].rules = &rules.back();
    chunk.num_undrawn = chunk.num_drafted + 1 - static_cast<int>(rules.back().size());
  }
  return rules;
}

// Drops what was wrong of a draft. `unknown` has been told of the token that is right in any case.
void Scheduler::BookDraft(Sequence& sequence, const PlannedChunk& chunk) {
  const int end = chunk.draw_position + chunk.num_accepted + 1;
  const int dropped = sequence.num_tokens() - end;
  CHECK(dropped == chunk.num_drafted - chunk.num_accepted);
  sequence.tokens.resize(end);
  sequence.unknown -= chunk.num_drafted;
  // It may have been preempted meanwhile.
  if (sequence.slot < 0) waiting_tokens_ -= dropped;
  sequence.computed = std::min(sequence.computed, end - 1);
  blocks_.ReleaseRest(sequence);
  sequence.speculation->Note(chunk.num_drafted, chunk.num_accepted, end);
}

}  // namespace phalanx
