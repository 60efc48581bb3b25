// Decides what each step of the engine computes.
//
// A sequence is a prompt and the tokens that were drawn after it. What is not in the KV cache yet
// is pending: a whole prompt at first, then one token at a time. Computing all that is pending
// gives the next token. A step takes, within the limits,
//   1. the one pending token of each running sequence that decodes,
//   2. then chunks of the longer ones (prefill), oldest first,
//   3. then chunks of waiting sequences, oldest first, as long as the next one's blocks are free.
// When a decoding sequence needs a block and none is free, the youngest running sequence is
// preempted: its blocks are released, and it waits to be computed again from its first token, the
// drawn ones included. A sequence that outgrows its rotary list is computed anew in the same way,
// but keeps its slot. So the oldest sequence advances in every step, and every sequence becomes the
// oldest: none starves.
//
// A step may be planned while earlier ones are in flight, that is, planned but not resolved. The
// plan counts on their success, and names a token that is not known yet by its slot. Blocks that a
// step in flight reads are not given to others before that step is resolved.
//
// Prefix cache: a block whose tokens are all known and computed can be found by what it holds
// (worker/kv_cache), whether or not its sequence is still there. A sequence that begins, or begins
// again, takes the blocks that its tokens begin with from there and computes the rest, at least one
// token, whose logits are needed. Shared blocks are read only: a sequence writes to blocks of its
// own, which nobody finds before all of their tokens are planned. A block is offered to others when
// the plan that completes it has been made, so only later steps read it, and these run later on
// every rank. Prompts that are scored stay out of this, since every token of theirs is computed.
#ifndef PHALANX_WORKER_ENGINE_SCHEDULER_H_
#define PHALANX_WORKER_ENGINE_SCHEDULER_H_

#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <memory_resource>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "model/generation/sampling.h"
#include "model/spec/long_rope.h"
#include "worker/engine/sequence.h"
#include "worker/engine/step_writer.h"
#include "worker/kv_cache/block_hash.h"
#include "worker/kv_cache/block_pool.h"
#include "worker/step/step.h"

namespace phalanx {

struct StepPlan {
  // In the order of the step's sequences. Empty if there is nothing to do: the scheduler has no
  // sequence that could advance before steps in flight are resolved.
  std::vector<PlannedChunk> chunks;
  Step step;
  // Sequences that lost their blocks.
  int preemptions = 0;
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
    // If set, the prompt's tokens are scored and none is drawn. The first token has no score, since
    // nothing precedes it, so there must be two.
    bool score = false;
    // Blocks are shared only between sequences with equal salts.
    std::string cache_salt = {};
  };

  // Adds a sequence that waits to run. `id` must be above all earlier ones, and the prompt not
  // empty. The sequence must be removed before it is longer than CanEverFit allows, and when it has
  // all its tokens or scores.
  void Add(SequenceId id, Task task);

  // Forgets a sequence, whether it runs or waits; steps in flight may still have it. A sequence of
  // that id must be there. What its blocks hold is kept for others if it is `sound`.
  void Remove(SequenceId id, bool sound = true);

  // Plans the next step and assigns its blocks. A plan that is not empty is in flight from then on.
  // If its step fails, sequences may still be added and removed, but no plan may follow.
  StepPlan Plan();

  // Books the result of a plan, which must be the oldest one in flight: its step drew `tokens`, one
  // for each chunk that draws, in order.
  void Resolve(const StepPlan& plan, absl::Span<const int32_t> tokens);

  // Forgets the steps in flight, whose results will not come, and all that the prefix cache holds,
  // since these steps may not have written it. Sequences may be removed after that, but no plan may
  // follow.
  void DropInFlight();

  bool empty() const { return sequences_.empty(); }
  int running() const { return static_cast<int>(running_.size()); }
  int waiting() const { return static_cast<int>(waiting_.size()); }
  int in_flight() const { return static_cast<int>(planned_steps_ - resolved_steps_); }
  // Blocks that sequences or steps in flight have.
  int used_blocks() const { return pool_.used_blocks(); }
  // Blocks that nobody has, and that are kept for what they hold until they are needed.
  int cached_blocks() const { return pool_.cached_blocks(); }
  // How often the contents of such a block had to give way.
  int64_t evictions() const { return pool_.evictions(); }
  // Dies unless every block has as many users as sequences and steps in flight have it. For tests:
  // looks at all blocks.
  void CheckReferences() const;

 private:
  // The blocks at the beginning of a sequence that the prefix cache has.
  struct Hits {
    int blocks = 0;
    int in_use = 0;  // Of these, those that others use now.
  };

  void ReleaseLeavingBlocks();
  void PlanDecodes(StepPlan& plan);
  void PlanPrefills(StepPlan& plan);
  void AdmitWaiting(StepPlan& plan);
  bool MakeRoomFor(Sequence& sequence, StepPlan& plan);
  void PreemptYoungest(StepPlan& plan);
  int LeavingBlocks() const;
  int ReservedBlocks() const;
  void HashBlocks(Sequence& sequence, int count);
  Hits FindHits(Sequence& sequence);
  int UnusedBlocksNeeded(Sequence& sequence);
  void AllocateBlocks(Sequence& sequence);
  void OfferBlocks(Sequence& sequence);
  void ReleaseBlocks(Sequence& sequence);
  bool FitsTables(const Sequence& sequence) const;
  void FreeSlot(Sequence& sequence);
  void AddChunk(const Sequence& sequence, int num_tokens, StepPlan& plan);
  void Advance(StepPlan& plan);
  void AppendDrawn(Sequence& sequence);

  const StepLimits limits_;
  std::pmr::memory_resource* const memory_;
  const bool prefix_cache_;
  BlockPool pool_;
  BlockHasher hasher_;
  // Slots that no running sequence has. The one that was freed last is given out next.
  std::vector<int> free_slots_;
  absl::flat_hash_map<SequenceId, std::unique_ptr<Sequence>> sequences_;
  // running_ and waiting_ are ordered by age, oldest first, and every running sequence is older
  // than every waiting one.
  std::vector<Sequence*> running_;
  std::deque<Sequence*> waiting_;
  // How many tokens the plan that is being made may still take.
  int tokens_left_ = 0;
  // How many blocks from the prefix cache it may still tell the ranks of (see LargestStep).
  int table_entries_left_ = 0;
  // Steps are numbered from 1. Those after resolved_steps_ are in flight.
  uint64_t planned_steps_ = 0;
  uint64_t resolved_steps_ = 0;
  // Blocks that a sequence has given up, with the last step that may use them for it: until that is
  // resolved they stay in use. Steps ascend.
  std::deque<std::pair<uint64_t, BlockId>> leaving_blocks_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_ENGINE_SCHEDULER_H_
