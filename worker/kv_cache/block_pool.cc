#include "worker/kv_cache/block_pool.h"

#include "base/log.h"

namespace phalanx {

BlockPool::BlockPool(int total_blocks)
    : entries_(total_blocks + 1), by_hash_(0, HashOf{&entries_}, SameHash{HashOf{&entries_}}) {
  // Reserved, so that nothing is allocated later. In reverse, so that the arena is used from its
  // beginning.
  free_.reserve(total_blocks);
  for (int block = total_blocks; block >= 1; --block) free_.push_back(BlockId{block});
  // Twice as many as there can be, since the table makes room anew when removed entries have left
  // too little, and does so in place only if at most half of it is in use.
  by_hash_.reserve(2 * static_cast<size_t>(total_blocks));
}

std::optional<BlockId> BlockPool::Allocate() {
  if (unused_blocks() == 0) return std::nullopt;
  BlockId block{};
  if (!free_.empty()) {
    block = free_.back();
    free_.pop_back();
  } else {
    const int32_t first = entries_[0].next;
    TakeFromRing(first);
    DropHash(first);
    block = BlockId{first};
    ++evictions_;
  }
  entries_[static_cast<size_t>(block)].references = 1;
  return block;
}

void BlockPool::Reference(BlockId block) {
  const auto number = static_cast<int32_t>(block);
  CHECK(number > 0 && number <= total_blocks()) << "block " << number;
  Entry& entry = entries_[number];
  CHECK(entry.references > 0 || entry.has_hash) << "block " << number << " is free";
  if (entry.references++ == 0) TakeFromRing(number);
}

void BlockPool::Release(BlockId block) {
  Entry& entry = EntryInUse(block);
  if (--entry.references > 0) return;
  if (entry.has_hash) {
    AppendToRing(static_cast<int32_t>(block));
  } else {
    free_.push_back(block);
  }
}

void BlockPool::Register(BlockId block, const BlockHash& hash) {
  Entry& entry = EntryInUse(block);
  CHECK(!entry.has_hash) << "block " << static_cast<int32_t>(block) << " has a hash";
  entry.hash = hash;
  entry.has_hash = by_hash_.insert(static_cast<int32_t>(block)).second;
}

void BlockPool::Forget(BlockId block) {
  const auto number = static_cast<int32_t>(block);
  Entry& entry = entries_[number];
  if (!entry.has_hash) return;
  DropHash(number);
  if (entry.references > 0) return;
  TakeFromRing(number);
  free_.push_back(block);
}

void BlockPool::ForgetAll() {
  for (int block = total_blocks(); block >= 1; --block) Forget(BlockId{block});
}

std::optional<BlockId> BlockPool::Find(const BlockHash& hash) const {
  const auto found = by_hash_.find(hash);
  if (found == by_hash_.end()) return std::nullopt;
  return BlockId{*found};
}

BlockPool::Entry& BlockPool::EntryInUse(BlockId block) {
  const auto number = static_cast<size_t>(block);
  CHECK(number < entries_.size() && entries_[number].references > 0)
      << "block " << number << " is not in use";
  return entries_[number];
}

void BlockPool::AppendToRing(int32_t block) {
  const int32_t last = entries_[0].previous;
  entries_[block].previous = last;
  entries_[block].next = 0;
  entries_[last].next = block;
  entries_[0].previous = block;
  ++cached_blocks_;
}

void BlockPool::TakeFromRing(int32_t block) {
  const Entry& entry = entries_[block];
  entries_[entry.previous].next = entry.next;
  entries_[entry.next].previous = entry.previous;
  --cached_blocks_;
}

void BlockPool::DropHash(int32_t block) {
  by_hash_.erase(block);
  entries_[block].has_hash = false;
}

}  // namespace phalanx
