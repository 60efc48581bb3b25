// Which blocks of the KV arena are in use.
#ifndef PHALANX_WORKER_ENGINE_KV_BLOCK_ALLOCATOR_H_
#define PHALANX_WORKER_ENGINE_KV_BLOCK_ALLOCATOR_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/log.h"

namespace phalanx {

// Number of a block in the arena, 1 to total_blocks(): block 0 is kernels::kPaddingBlock.
enum class BlockId : int32_t {};

// All operations take constant time and allocate nothing. Thread-compatible.
class KvBlockAllocator {
 public:
  explicit KvBlockAllocator(int total_blocks) : in_use_(total_blocks + 1, false) {
    // Reserved, so that Free never allocates. In reverse, so that the arena is used from its
    // beginning.
    free_.reserve(total_blocks);
    for (int block = total_blocks; block >= 1; --block) free_.push_back(BlockId{block});
  }

  // nullopt if no block is free.
  std::optional<BlockId> Allocate() {
    if (free_.empty()) return std::nullopt;
    const BlockId block = free_.back();
    free_.pop_back();
    in_use_[static_cast<size_t>(block)] = true;
    return block;
  }

  // `block` must be in use.
  void Free(BlockId block) {
    const auto index = static_cast<size_t>(block);
    CHECK(index < in_use_.size() && in_use_[index]) << "block " << index << " is not in use";
    in_use_[index] = false;
    free_.push_back(block);
  }

  int total_blocks() const { return static_cast<int>(in_use_.size()) - 1; }
  int free_blocks() const { return static_cast<int>(free_.size()); }
  int used_blocks() const { return total_blocks() - free_blocks(); }

 private:
  // By block number. Only to check what is freed.
  std::vector<bool> in_use_;
  // A stack: the block that was freed last is given out next.
  std::vector<BlockId> free_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_ENGINE_KV_BLOCK_ALLOCATOR_H_
