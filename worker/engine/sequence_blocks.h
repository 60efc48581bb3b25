// Gives sequences their blocks of the KV cache, new ones and those that the prefix cache has, and
// takes them back; a detail of Scheduler.
#ifndef PHALANX_WORKER_ENGINE_SEQUENCE_BLOCKS_H_
#define PHALANX_WORKER_ENGINE_SEQUENCE_BLOCKS_H_

#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include "worker/engine/sequence.h"
#include "worker/kv_cache/block_hash.h"
#include "worker/kv_cache/block_pool.h"

namespace phalanx {

// Whether equal tokens of these have equal blocks, which both may use.
bool MaySharePrefix(const Sequence& a, const Sequence& b);

// How many whole blocks of known tokens both begin with.
int CommonBlocks(const Sequence& a, const Sequence& b);

// Thread-compatible.
class SequenceBlocks {
 public:
  explicit SequenceBlocks(int kv_blocks);
  SequenceBlocks(const SequenceBlocks&) = delete;
  SequenceBlocks& operator=(const SequenceBlocks&) = delete;

  // The blocks at the beginning of a sequence that the prefix cache has.
  struct Hits {
    int blocks = 0;
    int in_use = 0;  // Of these, those that others use now.
  };
  Hits FindHits(Sequence& sequence);

  // How many blocks that nobody uses Allocate would take. Cached ones among them count too, whether
  // for what they hold or not.
  int UnusedNeeded(Sequence& sequence);

  // Gives the sequence blocks for all its tokens, at first from the prefix cache if it has none
  // yet; then it counts as computed so far. They must be there.
  void Allocate(Sequence& sequence);

  // Lets others find the blocks that are complete: their tokens are known, and no later step writes
  // to them.
  void Offer(Sequence& sequence);

  // Takes all blocks of the sequence. Those that a step in flight may use for it stay in use until
  // that is resolved.
  void Release(Sequence& sequence);

  // Takes the blocks behind those that the sequence's tokens need: a draft in them was wrong. No
  // step in flight may use them any more.
  void ReleaseRest(Sequence& sequence);

  // Nobody finds the sequence's blocks any more.
  void Forget(const Sequence& sequence);

  // A step is planned; returns its number, from 1 on.
  uint64_t BeginStep() { return ++planned_steps_; }
  // The oldest step in flight is resolved.
  void EndStep();
  // All steps are, without results: what the prefix cache holds may not have been written.
  void DropInFlight();
  int in_flight() const { return static_cast<int>(planned_steps_ - resolved_steps_); }

  // Blocks that Allocate can have.
  int unused() const { return pool_.unused_blocks(); }
  // How many more these are once the steps in flight are resolved. A block that two sequences have
  // left is not counted.
  int leaving() const;

  const BlockPool& pool() const { return pool_; }
  // By block number: how often it is among those that leave. For tests.
  std::vector<int> LeavingUsers() const;

 private:
  void Hash(Sequence& sequence, int count);
  void ReleaseLeaving();

  BlockPool pool_;
  BlockHasher hasher_;
  // Those after resolved_steps_ are in flight.
  uint64_t planned_steps_ = 0;
  uint64_t resolved_steps_ = 0;
  // Blocks that a sequence has given up, with the last step that may use them for it: until that is
  // resolved they stay in use. Steps ascend.
  std::deque<std::pair<uint64_t, BlockId>> leaving_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_ENGINE_SEQUENCE_BLOCKS_H_
