#include "coordinator/text/tokenizer/merge_queue.h"

namespace phalanx {
namespace {

// Packed numbers compare as pairs do: by rank, then by place.
uint64_t Pack(MergeQueue::Pair pair) {
  return static_cast<uint64_t>(pair.rank) << 32 | static_cast<uint32_t>(pair.place);
}

MergeQueue::Pair Unpack(uint64_t packed) {
  return {static_cast<int32_t>(packed >> 32), static_cast<int32_t>(packed)};
}

}  // namespace

void MergeQueue::Push(Pair pair) {
  Row& row = rows_[pair.rank];
  // The places of a row ascend, so that its first is always its least.
  if (row.first != kNone && waiting_[row.last].place > pair.place) {
    strays_.push(Pack(pair));
    return;
  }
  int32_t at = free_;
  if (at == kNone) {
    at = static_cast<int32_t>(waiting_.size());
    waiting_.emplace_back();
  } else {
    free_ = waiting_[at].next;
  }
  waiting_[at] = {pair.place, kNone};
  if (row.first == kNone) {
    ranks_.push(pair.rank);
    row.first = at;
  } else {
    waiting_[row.last].next = at;
  }
  row.last = at;
}

MergeQueue::Pair MergeQueue::Pop() {
  if (!ranks_.empty()) {
    Row& row = rows_[ranks_.top()];
    const int32_t at = row.first;
    const Pair pair = {ranks_.top(), waiting_[at].place};
    // The first pair of the lowest rank's row is the least of all rows. Only a stray can come
    // before it.
    if (strays_.empty() || Pack(pair) <= strays_.top()) {
      row.first = waiting_[at].next;
      waiting_[at].next = free_;
      free_ = at;
      if (row.first == kNone) ranks_.pop();
      return pair;
    }
  }
  const Pair pair = Unpack(strays_.top());
  strays_.pop();
  return pair;
}

}  // namespace phalanx
