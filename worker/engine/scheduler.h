// Decides what each step of the engine computes.
//
// A sequence is a prompt and the tokens that were drawn after it. What is not in the KV cache yet
// is pending: a whole prompt at first, then one token at a time. Computing all that is pending
// gives the next token. A step takes, within the limits,
//   1. the one pending token of each running sequence that decodes,
//   2. then what sequences have lost that had begun: a client waits for their next token,
//   3. then chunks of prompts, of running and of waiting sequences, as tenants take turns and
//      ranks tell (worker/engine/wait_queue.h). A waiting one begins if its blocks are free.
// So a prompt, however long, delays a stream by no more than the one step of max_step_tokens that
// both are in.
//
// When a decoding sequence needs a block and none is free, the running sequence that is last by
// rank, so of the lowest priority and the youngest, is preempted: its blocks are released, and it
// waits to be computed again from its first token, the drawn ones included. A sequence that
// outgrows its rotary list is computed anew in the same way, but keeps its slot.
//
// Every sequence ends, if whoever draws tokens lets it:
//   - The first of the running sequences by rank is never preempted, and has what it needs by
//     preempting the others. It gets a token in every step, or a chunk in each turn of its tenant.
//     So it ends, unless others are admitted that rank before it; these came less than
//     kLongestPassing after it, so they are finitely many.
//   - While preempted ones wait, none but them is admitted. So they and the running ones become
//     fewer until each of them has run.
//   - A waiting one begins when it is the first of its tenant that can, it is the tenant's turn,
//     and there is room. Its tenant's turn comes when the others have had as much as the tenant. If
//     there is no room for it, no other one is admitted in that step, so smaller ones do not pass
//     it again and again, and its tenant is asked first again, since what others have meanwhile
//     counts. Room comes as running ones end.
//
// A step may be planned while earlier ones are in flight, that is, planned but not resolved. The
// plan counts on their success, and names a token that is not known yet by its slot. Blocks that a
// step in flight reads are not given to others before that step is resolved. How the next token is
// drawn may depend on the unknown one, by penalties, a constraint or a limit of the reasoning: then
// the plan leaves its sampling out, and WriteSampling follows when earlier steps are resolved. So
// it does if a mask is to be made, which takes time in which the forward part can run.
//
// Prefix cache: a block whose tokens are all known and computed can be found by what it holds
// (worker/kv_cache), whether or not its sequence is still there. A sequence that begins, or begins
// again, takes the blocks that its tokens begin with from there and computes the rest, at least one
// token, whose logits are needed. Shared blocks are read only: a sequence writes to blocks of its
// own, which nobody finds before all of their tokens are planned. A block is offered to others when
// the plan that completes it has been made, so only later steps read it, and these run later on
// every rank. Prompts that are scored stay out of this, since every token of theirs is computed.
//
// A waiting sequence does not compute what another one is computing right now: if a running
// sequence of the same tenant that ranks before it has the same blocks still before itself, it
// waits until they can be found. That costs it no turn, since the other one's prompt goes before
// its own anyway; those behind it go on meanwhile. It waits no longer when the other one has
// offered these blocks, is removed, is preempted, or changes its rotary list.
//
// Speculation: a sequence may have its next tokens guessed (worker/engine/speculation.h). A step
// computes the guess behind its pending token, draws a token after each, and as many are taken as
// were guessed right, and the one after them. What follows is a wrong turn: its tokens are dropped
// and their blocks given back, and nobody else has seen them. A draft has what a step has left when
// everybody else has had his part: tokens, rows of logits, and blocks, without one for each running
// sequence to grow into. Nothing is guessed while a token is unknown, or across the border of a
// rotary list. A guess ends where the sequence's rules forbid the next token of it. A sequence that
// has a draft is not planned ahead of its own result.
//
// Deadlines: a waiting sequence is late if its first token cannot be there in time at the speed of
// the latest steps (worker/engine/step_speed.h). This is asked when it comes, with the prompts of
// its tenant that go before it, and again when it is about to begin, with its own tokens alone;
// what the prefix cache has, or will have when its turn comes, is not counted.
#ifndef PHALANX_WORKER_ENGINE_SCHEDULER_H_
#define PHALANX_WORKER_ENGINE_SCHEDULER_H_

#include <cstdint>
#include <limits>
#include <memory>
#include <memory_resource>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "kernels/step_batch.h"
#include "model/generation/sampling.h"
#include "model/spec/long_rope.h"
#include "worker/engine/sequence.h"
#include "worker/engine/sequence_blocks.h"
#include "worker/engine/step_speed.h"
#include "worker/engine/step_writer.h"
#include "worker/engine/token_rules.h"
#include "worker/engine/wait_queue.h"
#include "worker/step/step.h"

namespace phalanx {

struct StepPlan {
  // In the order of the step's sequences. Empty if there is nothing to do: the scheduler has no
  // sequence that could advance before steps in flight are resolved.
  std::vector<PlannedChunk> chunks;
  Step step;
  // The step's sampling part is not written yet: Scheduler::WriteSampling must follow.
  bool sampling_follows = false;
  // Sequences that lost their blocks.
  int preemptions = 0;
  // Waiting sequences whose first token cannot be there by their deadline, and how long it would
  // have taken. They must be removed before the next plan.
  struct Late {
    SequenceId id{};
    absl::Duration estimate;
  };
  std::vector<Late> late = {};
};

// Engine thread only. Deterministic: plans depend on the calls so far and nothing else.
class Scheduler {
 public:
  // max_step_tokens must be at least max_seqs, and both at least 1. Without `prefix_cache` no block
  // is ever shared. Steps are written into memory from `memory`, which must outlive them.
  explicit Scheduler(const StepLimits& limits, bool prefix_cache = true,
                     std::pmr::memory_resource* memory = std::pmr::get_default_resource());
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;
  ~Scheduler();

  // Whether a sequence of this many tokens could ever be computed.
  static bool CanEverFit(const StepLimits& limits, int64_t num_tokens);

  // What is to be done with a sequence.
  struct Task {
    std::vector<int32_t> prompt_token_ids;
    // Not more tokens than these are drawn.
    int max_new_tokens = std::numeric_limits<int>::max();
    Sampling sampling;
    uint64_t seed = 0;
    RopePlan rope;
    // If set, the prompt's tokens are scored. The first token has no score, since nothing precedes
    // it, so there must be two. Without max_new_tokens nothing is drawn then.
    bool score = false;
    // Blocks are shared only between sequences with equal salts.
    std::string cache_salt = {};
    // kMinPriority to kMaxPriority.
    int priority = 0;
    // Tenants take turns. Sequences without one belong to one tenant together.
    std::string tenant = {};
    // Not before that of earlier sequences.
    absl::Time arrival = absl::UnixEpoch();
    // When the first token must be there. Of no effect if the prompt is scored.
    absl::Time deadline = absl::InfiniteFuture();
    // As SamplingRow::log_probs of kernels/step_batch.h.
    int32_t log_probs = kernels::kNoLogProbs;
    // May be null. At most kMaxStepEdits edits at any time.
    std::unique_ptr<TokenRules> rules = nullptr;
    // How many tokens a draft of it may have; 0 for none.
    int max_draft_tokens = 0;
  };

  // Adds a sequence that waits to run. `id` must be above all earlier ones, and the prompt not
  // empty. The sequence must be removed before it is longer than CanEverFit allows, and when it has
  // all its tokens or scores.
  void Add(SequenceId id, Task task);

  // Forgets a sequence, whether it runs or waits; steps in flight may still have it. A sequence of
  // that id must be there. What its blocks hold is kept for others if it is `sound`.
  void Remove(SequenceId id, bool sound = true);

  // Plans the next step, which begins at `now`, and assigns its blocks. A plan that is not empty is
  // in flight from then on. If its step fails, sequences may still be added and removed, but no
  // plan may follow before BeginAnew.
  StepPlan Plan(absl::Time now);

  // Writes the sampling part of a plan that has left it out. To be called when the plans before it
  // are resolved, and before another one is made. Chunks of sequences that have been removed since
  // draw and score nothing any more, which this tells in `plan`.
  void WriteSampling(StepPlan& plan);

  // Books the result of a plan, which must be the oldest one in flight: its step drew `tokens`,
  // num_draws() for each chunk, in order. Of these the first num_accepted + 1 are tokens of the
  // sequence, which this tells in `plan`.
  void Resolve(StepPlan& plan, absl::Span<const int32_t> tokens);

  // Tells how long the step of a plan took.
  void NoteStepTime(const StepPlan& plan, absl::Duration time);
  const StepSpeed& speed() const { return speed_; }

  // Forgets the steps in flight, whose results will not come, and all that the prefix cache holds,
  // since these steps may not have written it. Sequences may be removed after that, but no plan may
  // follow.
  void DropInFlight();

  // Has every sequence computed anew: the steps in flight have failed, and the KV cache of a rank
  // is gone, so nothing that was computed is there any more. Sequences keep the tokens and scores
  // that are known, and go on from there as they would have.
  void BeginAnew();

  // How far a sequence is. A sequence of that id must be there.
  struct Progress {
    bool running = false;
    // At most one of its tokens is pending.
    bool decodes = false;
    // Tokens that are known: the prompt, and what was drawn.
    int known_tokens = 0;
    // Tokens in the KV cache, those that steps in flight write included.
    int computed_tokens = 0;
    int blocks = 0;
  };
  Progress ProgressOf(SequenceId id) const;

  bool empty() const { return sequences_.empty(); }
  int running() const { return static_cast<int>(running_.size()); }
  int waiting() const { return static_cast<int>(sequences_.size() - running_.size()); }
  // Tokens of the sequences that wait.
  int64_t waiting_tokens() const { return waiting_tokens_; }
  int in_flight() const { return blocks_.in_flight(); }
  // Blocks that sequences or steps in flight have.
  int used_blocks() const { return blocks_.pool().used_blocks(); }
  // Blocks that nobody has, and that are kept for what they hold until they are needed.
  int cached_blocks() const { return blocks_.pool().cached_blocks(); }
  // How often the contents of such a block had to give way.
  int64_t evictions() const { return blocks_.pool().evictions(); }
  // Dies unless every block has as many users as sequences and steps in flight have it. For tests:
  // looks at all blocks.
  void CheckReferences() const;

 private:
  void FindLate(absl::Time now, StepPlan& plan);
  int OwnTokens(Sequence& sequence);
  bool IsLate(Sequence& sequence, int64_t tokens, absl::Time now, StepPlan& plan);
  void PlanDecodes(StepPlan& plan);
  void PlanResumed();
  void PlanPrompts(absl::Time now, StepPlan& plan);
  int TakePrompt(Sequence& sequence, int most_tokens, absl::Time now, StepPlan& plan);
  bool HasRoom(Sequence& sequence);
  bool AwaitsBlocks(Sequence& sequence);
  bool FindAwaitedBlocks(Sequence& sequence);
  void Start(Sequence& sequence);
  bool MakeRoomFor(Sequence& sequence, StepPlan& plan);
  void PreemptLast();
  void ForgetUnknown(Sequence& sequence);
  int ReservedBlocks() const;
  bool FitsTables(const Sequence& sequence) const;
  int TokensThatFit(const Sequence& sequence, int most) const;
  void FreeSlot(Sequence& sequence);
  bool CanTake(const Sequence& sequence) const;
  void Grant(Sequence& sequence, int num_tokens);
  void ReadTexts();
  void PlanDrafts();
  int DraftsThatFit(const Sequence& sequence, int blocks) const;
  int DraftsWithEditsThatFit(const TokenRules& rules, int most) const;
  void AddChunk(const Sequence& sequence, StepPlan& plan);
  static int CutDraft(Sequence& sequence, int drafted);
  static std::vector<std::vector<DrawRules>> LookAhead(std::vector<ChunkOfSequence>& parts,
                                                       StepPlan& plan);
  void WriteSampling(std::vector<ChunkOfSequence>& parts, StepPlan& plan) const;
  void Advance(StepPlan& plan);
  void AppendDrawn(Sequence& sequence);
  void BookDraft(Sequence& sequence, const PlannedChunk& chunk);

  const StepLimits limits_;
  std::pmr::memory_resource* const memory_;
  const bool prefix_cache_;
  SequenceBlocks blocks_;
  // Slots that no running sequence has. The one that was freed last is given out next.
  std::vector<int> free_slots_;
  absl::flat_hash_map<SequenceId, std::unique_ptr<Sequence>> sequences_;
  // By rank, first ones first.
  std::vector<Sequence*> running_;
  // By rank too: those that have run, and wait to go on.
  std::vector<Sequence*> preempted_;
  // The prompts of the others that wait, and what is left of those of running sequences.
  WaitQueue queue_;
  // Sequences that have come since the latest plan.
  std::vector<SequenceId> arrived_;
  int64_t waiting_tokens_ = 0;
  // Sequences that have drafts.
  int speculating_ = 0;
  StepSpeed speed_;
  // The sequences that have a part in the plan that is being made, in order.
  std::vector<Sequence*> granted_;
  // Whether it may still admit sequences, and what of the unused blocks these leave alone.
  bool admits_ = false;
  int reserved_blocks_ = 0;
  // How many tokens the plan that is being made may still take.
  int tokens_left_ = 0;
  // How many blocks from the prefix cache it may still tell the ranks of (see LargestStep).
  int table_entries_left_ = 0;
  // How many logits it may still edit.
  int edits_left_ = 0;
  // Whether the latest plan has left its sampling part out so far.
  bool sampling_is_due_ = false;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_ENGINE_SCHEDULER_H_
