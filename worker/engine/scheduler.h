// Decides what each step of the engine computes.
//
// A sequence is a prompt and the tokens that were drawn after it. What is not in the KV cache yet
// is pending: a whole prompt at first, then one token at a time. Computing all that is pending
// gives the next token. A step takes, within the limits,
//   1. the one pending token of each running sequence that decodes,
//   2. then chunks of the longer ones (prefill), oldest first,
//   3. then chunks of waiting sequences, oldest first, as long as the next one's blocks are free.
// When a decoding sequence needs a block and none is free, the youngest running sequence is
// preempted: its blocks are freed, and it waits to be computed again from its first token, the
// drawn ones included. A sequence that outgrows its rotary list is computed anew in the same way,
// but keeps its blocks. So the oldest sequence advances in every step, and every sequence becomes
// the oldest: none starves.
#ifndef PHALANX_WORKER_ENGINE_SCHEDULER_H_
#define PHALANX_WORKER_ENGINE_SCHEDULER_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "model/spec/long_rope.h"
#include "worker/engine/kv_block_allocator.h"
#include "worker/engine/request.h"
#include "worker/model/step_input.h"

namespace phalanx {

// Numbers sequences in order of arrival.
enum class SequenceId : uint64_t {};

// The part of one sequence in a step.
struct PlannedChunk {
  SequenceId id{};
  int num_tokens = 0;
  // Whether the step draws the sequence's next token: the chunk is all that was pending.
  bool draws = false;
  // How many of the sequence's tokens the step scores. They follow those that were scored before.
  int num_scores = 0;
};

struct StepPlan {
  // In the order of the step's sequences. Empty only if the scheduler is.
  std::vector<PlannedChunk> chunks;
  StepInput input;
  // Sequences that lost their blocks.
  int preemptions = 0;
};

// Engine thread only. Deterministic: plans depend on the calls so far and nothing else.
class Scheduler {
 public:
  // max_step_tokens must be at least max_seqs, and both at least 1.
  explicit Scheduler(const StepLimits& limits);
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;
  ~Scheduler();

  // Whether a sequence of this many tokens could ever be computed.
  static bool CanEverFit(const StepLimits& limits, int64_t num_tokens);

  // What is to be done with a sequence.
  struct Task {
    std::vector<int32_t> prompt_token_ids;
    Sampling sampling;
    uint64_t seed = 0;
    RopePlan rope;
    // If set, the prompt's tokens are scored and none is drawn. The first token has no score, since
    // nothing precedes it, so there must be two.
    bool score = false;
  };

  // Adds a sequence that waits to run. `id` must be above all earlier ones, and the prompt not
  // empty. The sequence must be removed before it is longer than CanEverFit allows, or when all of
  // it is scored.
  void Add(SequenceId id, Task task);

  // Frees what a sequence holds, whether it runs or waits. A sequence of that id must be there.
  void Remove(SequenceId id);

  // Plans the next step and assigns its blocks. The plan must be committed before a sequence is
  // added or removed. If its step failed instead, sequences may still be added and removed, but no
  // plan may follow.
  StepPlan Plan();

  // Books the step of `plan`, which must be the last one made: it was computed and drew `tokens`,
  // one for each chunk that draws, in order. They are appended to their sequences.
  void Commit(const StepPlan& plan, absl::Span<const int32_t> tokens);

  bool empty() const { return sequences_.empty(); }
  int running() const { return static_cast<int>(running_.size()); }
  int waiting() const { return static_cast<int>(waiting_.size()); }
  int used_blocks() const { return allocator_.used_blocks(); }

 private:
  struct Sequence;

  void PlanDecodes(StepPlan& plan);
  void AddDrawRow(const Sequence& sequence, StepPlan& plan) const;
  int AddScoreRows(const Sequence& sequence, int begin, int end, StepPlan& plan) const;
  void PlanPrefills(StepPlan& plan);
  void AdmitWaiting(StepPlan& plan);
  bool MakeRoomFor(Sequence& sequence, StepPlan& plan);
  void PreemptYoungest(StepPlan& plan);
  void AllocateBlocks(Sequence& sequence);
  void FreeBlocks(Sequence& sequence);
  void AddChunk(const Sequence& sequence, int num_tokens, StepPlan& plan) const;
  void FillBlockTables(StepPlan& plan) const;
  int TokensLeft(const StepPlan& plan) const;

  const StepLimits limits_;
  KvBlockAllocator allocator_;
  absl::flat_hash_map<SequenceId, std::unique_ptr<Sequence>> sequences_;
  // running_ and waiting_ are ordered by age, oldest first, and every running sequence is older
  // than every waiting one.
  std::vector<Sequence*> running_;
  std::deque<Sequence*> waiting_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_ENGINE_SCHEDULER_H_
