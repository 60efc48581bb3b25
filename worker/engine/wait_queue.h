// Which prompts are computed next.
//
// Sequences of one tenant go in the order of their ranks. A rank is the time of arrival, and a
// sequence of priority p counts as if it had come p times kAgeing earlier. So who waits gains on
// those that come later as time goes by, without anybody having to look at a clock: a rank never
// changes. A sequence is passed only by sequences of a higher priority, and only by those that came
// less than kAgeing times the difference of the priorities after it, at most kLongestPassing. With
// equal priorities it is first come, first served.
//
// Tenants take turns of kTurnTokens: next is the tenant that has had the fewest tokens, of prompts
// and of answers. That is deficit round robin, where what a tenant has had too little or too much
// is made up for, whatever the reason. So tenants that have enough to do get equal numbers of
// tokens, whatever the sizes, numbers and priorities of their requests; what one does not need goes
// to the others. It is not saved up: who comes counts as if he had had as much as the one who has
// had the least. A tenant waits no longer than until the others have had as much as itself, and a
// turn more each. Priorities do not count between tenants, else all would ask for the highest.
#ifndef PHALANX_WORKER_ENGINE_WAIT_QUEUE_H_
#define PHALANX_WORKER_ENGINE_WAIT_QUEUE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "worker/engine/request.h"
#include "worker/engine/sequence.h"

namespace phalanx {

// By how much a step of priority is worth an earlier arrival.
inline constexpr int kAgeingSeconds = 10;
inline constexpr absl::Duration kAgeing = absl::Seconds(kAgeingSeconds);
inline constexpr absl::Duration kLongestPassing =
    absl::Seconds((kMaxPriority - kMinPriority) * kAgeingSeconds);

// What a tenant may have computed of its prompts before others are asked.
inline constexpr int kTurnTokens = 512;

// For vectors that are ordered by rank. Erase returns false if the sequence is not there.
void InsertByRank(Sequence& sequence, std::vector<Sequence*>& sequences);
bool EraseByRank(const Sequence& sequence, std::vector<Sequence*>& sequences);

// Thread-compatible. Deterministic: depends on the calls so far and nothing else.
class WaitQueue {
 public:
  WaitQueue();
  WaitQueue(const WaitQueue&) = delete;
  WaitQueue& operator=(const WaitQueue&) = delete;
  ~WaitQueue();

  // A sequence comes, with a prompt to be computed. Its rank must be set, and may not change. It
  // must be removed before it is destroyed.
  void Add(Sequence& sequence, absl::string_view tenant);

  // A sequence leaves, with or without prompt tokens left.
  void Remove(Sequence& sequence);

  // The sequence has no prompt tokens left to be computed, or others are to look after it: Deal
  // does not ask for it any more. Without effect if that has been said.
  void TakeOut(Sequence& sequence);

  // That many tokens are computed for the sequence outside of Deal.
  void Charge(const Sequence& sequence, int tokens);

  // Gives out up to `tokens` tokens. Calls `take` with the sequence whose turn it is and the most
  // that it may take now, at least 1; `take` returns how many it does. One that takes fewer is not
  // asked again in this call, one that takes all may be. `take` must not change this queue.
  void Deal(int tokens, absl::FunctionRef<int(Sequence& sequence, int most_tokens)> take);

  // Prompt tokens of the same tenant that are to be computed before the sequence, which is in the
  // queue. Those of late ones never are.
  int64_t TokensBefore(const Sequence& sequence) const;

  // Calls `look` with up to `count` sequences of the same tenant that come right before it.
  void LookBefore(const Sequence& sequence, int count,
                  absl::FunctionRef<void(const Sequence& other)> look) const;

  int tenants() const { return static_cast<int>(tenants_.size()); }

 private:
  Tenant* NextTurn();
  void LeaveRing(Tenant& tenant);

  absl::flat_hash_map<std::string, std::unique_ptr<Tenant>> tenants_;
  // Those that have prompts. Those that came earlier go first if they have had the same.
  std::vector<Tenant*> ring_;
  // Whose turn it is, and what is left of it. Null if nobody's.
  Tenant* turn_ = nullptr;
  int turn_tokens_left_ = 0;
  // Whether nobody had had less than it when its turn began.
  bool turn_is_due_ = false;
  // What the tenant had had then that had had the least.
  int64_t level_ = 0;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_ENGINE_WAIT_QUEUE_H_
