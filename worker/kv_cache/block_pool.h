// Which blocks of the KV arena are in use, and which hold tokens that a later request may need.
//
// A block is in one of three states:
//   free    nobody refers to it, and what it holds is worth nothing;
//   in use  sequences or steps refer to it, as many as References tells;
//   cached  nobody refers to it, but it can be found by the hash of what it holds.
// A block that is in use may have a hash too. Then others can find it and share it, and it must not
// be written to any more. Cached blocks are given out when no block is free, the one that has been
// cached for the longest time first: that is their eviction.
#ifndef PHALANX_WORKER_KV_CACHE_BLOCK_POOL_H_
#define PHALANX_WORKER_KV_CACHE_BLOCK_POOL_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "worker/kv_cache/block_hash.h"

namespace phalanx {

// Number of a block in the arena, 1 to total_blocks(): block 0 is kernels::kPaddingBlock.
enum class BlockId : int32_t {};

// All operations but ForgetAll take constant time, and none allocates. Thread-compatible.
class BlockPool {
 public:
  explicit BlockPool(int total_blocks);
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  // A block for one user, with no hash; nullopt if all blocks are in use.
  std::optional<BlockId> Allocate();

  // Adds a user to a block that is in use or cached.
  void Reference(BlockId block);

  // Takes a user from a block that is in use. Without users a block with a hash is cached, as the
  // last one to be evicted, and one without is free.
  void Release(BlockId block);

  // Lets a block that is in use be found by `hash`. Without effect if another block already has
  // that hash. The block must have none yet.
  void Register(BlockId block, const BlockHash& hash);

  // Takes a block's hash away, if it has one: nobody finds it any more.
  void Forget(BlockId block);
  void ForgetAll();

  // The block with that hash, in use or cached.
  std::optional<BlockId> Find(const BlockHash& hash) const;

  // How many users a block has.
  int references(BlockId block) const { return EntryOf(block).references; }

  int total_blocks() const { return static_cast<int>(entries_.size()) - 1; }
  int used_blocks() const { return total_blocks() - unused_blocks(); }
  // Blocks that Allocate can give out: free and cached ones.
  int unused_blocks() const { return static_cast<int>(free_.size()) + cached_blocks_; }
  int cached_blocks() const { return cached_blocks_; }
  // How often a cached block was given out.
  int64_t evictions() const { return evictions_; }

 private:
  // Cached blocks are a ring in order of their eviction, which begins behind entry 0.
  struct Entry {
    BlockHash hash;
    bool has_hash = false;
    int32_t references = 0;
    int32_t previous = 0;
    int32_t next = 0;
  };

  // Blocks are hashed and compared by the hashes in their entries. Of these, which are evenly
  // distributed, one word is enough.
  struct HashOf {
    using is_transparent = void;
    const std::vector<Entry>* entries;
    const BlockHash& Get(int32_t block) const { return (*entries)[block].hash; }
    static const BlockHash& Get(const BlockHash& hash) { return hash; }
    size_t operator()(const auto& key) const { return Get(key).words[0]; }
  };
  struct SameHash {
    using is_transparent = void;
    HashOf hash_of;
    bool operator()(const auto& a, const auto& b) const { return hash_of.Get(a) == hash_of.Get(b); }
  };

  const Entry& EntryOf(BlockId block) const { return entries_[static_cast<size_t>(block)]; }
  // Dies unless `block` is in use.
  Entry& EntryInUse(BlockId block);
  void AppendToRing(int32_t block);
  void TakeFromRing(int32_t block);
  void DropHash(int32_t block);

  // By block number; entry 0 stands for no block.
  std::vector<Entry> entries_;
  // A stack: the block that became free last is given out next.
  std::vector<BlockId> free_;
  // The blocks that have a hash.
  absl::flat_hash_set<int32_t, HashOf, SameHash> by_hash_;
  int cached_blocks_ = 0;
  int64_t evictions_ = 0;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_KV_CACHE_BLOCK_POOL_H_
