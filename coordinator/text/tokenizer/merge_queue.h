// Pairs that could be merged, by rank.
#ifndef PHALANX_COORDINATOR_TEXT_TOKENIZER_MERGE_QUEUE_H_
#define PHALANX_COORDINATOR_TEXT_TOKENIZER_MERGE_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <queue>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace phalanx {

// Gives what was pushed in ascending order of rank, then place. A heap that knows its customers:
// text is merged from left to right, one rank after the other, so that most pairs of one rank are
// pushed in order of their place. They wait in a row of their own, and only rows and the other
// pairs are in heaps. At most O(log n) for each pair; for a million of one letter it is O(1).
class MergeQueue {
 public:
  // Not negative.
  struct Pair {
    int32_t rank = 0;
    int32_t place = 0;
  };

  // For `pairs` pairs at a time; it grows beyond.
  explicit MergeQueue(size_t pairs) { waiting_.reserve(pairs); }

  bool empty() const { return ranks_.empty() && strays_.empty(); }
  void Push(Pair pair);
  // Must not be empty.
  Pair Pop();

 private:
  template <typename T>
  using Heap = std::priority_queue<T, std::vector<T>, std::greater<T>>;

  // A row is a list through waiting_; indices of first and last, kNone if empty.
  static constexpr int32_t kNone = -1;
  struct Row {
    int32_t first = kNone;
    int32_t last = kNone;
  };
  struct Waiting {
    int32_t place;
    int32_t next;
  };

  std::vector<Waiting> waiting_;
  // Those that are in no row, as one.
  int32_t free_ = kNone;
  absl::flat_hash_map<int32_t, Row> rows_;
  // Those whose rows are not empty.
  Heap<int32_t> ranks_;
  // Pairs that came too late for their row: rank, then place.
  Heap<uint64_t> strays_;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_TOKENIZER_MERGE_QUEUE_H_
