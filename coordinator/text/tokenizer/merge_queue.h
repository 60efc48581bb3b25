// A queue of pairs that could be merged, ordered by rank.
#ifndef PHALANX_COORDINATOR_TEXT_TOKENIZER_MERGE_QUEUE_H_
#define PHALANX_COORDINATOR_TEXT_TOKENIZER_MERGE_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <queue>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace phalanx {

// Gives what was pushed in ascending order of rank, then of place. Text is merged from left to
// right, one rank after the other, so most pairs of one rank are pushed in ascending order of their
// places. Such pairs wait in a row of their own, which is a list. Heaps hold only the ranks of the
// rows and the pairs that came out of order. Takes O(log n) at most for each pair, and O(1) for a
// text of one letter a million times.
class MergeQueue {
 public:
  // Neither rank nor place is negative.
  struct Pair {
    int32_t rank = 0;
    int32_t place = 0;
  };

  // Reserves memory for `pairs` pairs at a time. The queue can grow beyond.
  explicit MergeQueue(size_t pairs) { waiting_.reserve(pairs); }

  bool empty() const { return ranks_.empty() && strays_.empty(); }
  void Push(Pair pair);
  // Removes and returns the first pair. The queue must not be empty.
  Pair Pop();

 private:
  template <typename T>
  using Heap = std::priority_queue<T, std::vector<T>, std::greater<T>>;

  // A row is a list through waiting_. `first` and `last` are indices into it, or kNone if the row
  // is empty.
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
  // The first of the list of elements of waiting_ that are in no row and can be used again.
  int32_t free_ = kNone;
  absl::flat_hash_map<int32_t, Row> rows_;
  // The ranks whose rows are not empty.
  Heap<int32_t> ranks_;
  // Pairs that came out of order, so that they are in no row. Rank and place are packed into one
  // number.
  Heap<uint64_t> strays_;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_TOKENIZER_MERGE_QUEUE_H_
