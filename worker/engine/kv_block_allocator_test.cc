#include "worker/engine/kv_block_allocator.h"

#include <set>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

TEST(KvBlockAllocatorTest, HandsOutEachBlockOnceAndThenNone) {
  KvBlockAllocator allocator(3);
  std::set<BlockId> blocks;
  for (int i = 0; i < 3; ++i) blocks.insert(allocator.Allocate().value());
  EXPECT_EQ(blocks, (std::set<BlockId>{BlockId{1}, BlockId{2}, BlockId{3}}));
  EXPECT_EQ(allocator.Allocate(), std::nullopt);
  EXPECT_EQ(allocator.used_blocks(), 3);
  EXPECT_EQ(allocator.free_blocks(), 0);
}

TEST(KvBlockAllocatorTest, AFreedBlockCanBeHadAgain) {
  KvBlockAllocator allocator(2);
  const BlockId first = allocator.Allocate().value();
  allocator.Allocate();
  allocator.Free(first);
  EXPECT_EQ(allocator.used_blocks(), 1);
  EXPECT_EQ(allocator.Allocate(), first);
}

TEST(KvBlockAllocatorTest, AnEmptyArenaHasNoBlocks) {
  KvBlockAllocator allocator(0);
  EXPECT_EQ(allocator.Allocate(), std::nullopt);
  EXPECT_EQ(allocator.total_blocks(), 0);
}

TEST(KvBlockAllocatorDeathTest, DiesOnABlockThatIsNotInUse) {
  KvBlockAllocator allocator(2);
  const BlockId block = allocator.Allocate().value();
  allocator.Free(block);
  EXPECT_DEATH(allocator.Free(block), "block 1 is not in use");
  EXPECT_DEATH(allocator.Free(BlockId{0}), "block 0 is not in use");
  EXPECT_DEATH(allocator.Free(BlockId{7}), "block 7 is not in use");
}

}  // namespace
}  // namespace phalanx
