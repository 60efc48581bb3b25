#include "worker/kv_cache/block_pool.h"

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

BlockHash Hash(uint64_t number) { return {.words = {number, 0, 0, number}}; }

TEST(BlockPoolTest, HandsOutEachBlockOnceAndThenNone) {
  BlockPool pool(3);
  std::set<BlockId> blocks;
  for (int i = 0; i < 3; ++i) blocks.insert(pool.Allocate().value());
  EXPECT_EQ(blocks, (std::set<BlockId>{BlockId{1}, BlockId{2}, BlockId{3}}));
  EXPECT_EQ(pool.Allocate(), std::nullopt);
  EXPECT_EQ(pool.used_blocks(), 3);
  EXPECT_EQ(pool.unused_blocks(), 0);
}

TEST(BlockPoolTest, AReleasedBlockCanBeHadAgain) {
  BlockPool pool(2);
  const BlockId first = pool.Allocate().value();
  pool.Allocate();
  pool.Release(first);
  EXPECT_EQ(pool.used_blocks(), 1);
  EXPECT_EQ(pool.Allocate(), first);
}

TEST(BlockPoolTest, AnEmptyArenaHasNoBlocks) {
  BlockPool pool(0);
  EXPECT_EQ(pool.Allocate(), std::nullopt);
  EXPECT_EQ(pool.total_blocks(), 0);
}

TEST(BlockPoolTest, ABlockIsInUseUntilAllUsersHaveReleasedIt) {
  BlockPool pool(1);
  const BlockId block = pool.Allocate().value();
  pool.Reference(block);
  EXPECT_EQ(pool.references(block), 2);
  pool.Release(block);
  EXPECT_EQ(pool.Allocate(), std::nullopt);
  pool.Release(block);
  EXPECT_EQ(pool.references(block), 0);
  EXPECT_EQ(pool.Allocate(), block);
}

TEST(BlockPoolTest, ABlockWithAHashIsFoundInUseAndAfterIt) {
  BlockPool pool(2);
  const BlockId block = pool.Allocate().value();
  EXPECT_EQ(pool.Find(Hash(7)), std::nullopt);
  pool.Register(block, Hash(7));
  EXPECT_EQ(pool.Find(Hash(7)), block);
  EXPECT_EQ(pool.cached_blocks(), 0);
  pool.Release(block);
  EXPECT_EQ(pool.Find(Hash(7)), block);
  EXPECT_EQ(pool.cached_blocks(), 1);
  EXPECT_EQ(pool.unused_blocks(), 2);
  pool.Reference(block);
  EXPECT_EQ(pool.used_blocks(), 1);
  EXPECT_EQ(pool.cached_blocks(), 0);
}

TEST(BlockPoolTest, FreeBlocksGoBeforeCachedOnesAndThoseInOrderOfTheirRelease) {
  BlockPool pool(4);
  std::vector<BlockId> blocks;
  for (int i = 0; i < 4; ++i) blocks.push_back(pool.Allocate().value());
  for (int i = 0; i < 3; ++i) pool.Register(blocks[i], Hash(i));
  for (const int i : {2, 0, 1, 3}) pool.Release(blocks[i]);
  // In use once more, and so released last.
  pool.Reference(blocks[2]);
  pool.Release(blocks[2]);
  EXPECT_EQ(pool.Allocate(), blocks[3]);
  EXPECT_EQ(pool.evictions(), 0);
  EXPECT_EQ(pool.Allocate(), blocks[0]);
  EXPECT_EQ(pool.Find(Hash(0)), std::nullopt);
  EXPECT_EQ(pool.Allocate(), blocks[1]);
  EXPECT_EQ(pool.Allocate(), blocks[2]);
  EXPECT_EQ(pool.evictions(), 3);
  EXPECT_EQ(pool.Allocate(), std::nullopt);
}

TEST(BlockPoolTest, OfTwoBlocksWithOneHashTheFirstIsFound) {
  BlockPool pool(2);
  const BlockId first = pool.Allocate().value();
  const BlockId second = pool.Allocate().value();
  pool.Register(first, Hash(1));
  pool.Register(second, Hash(1));
  pool.Release(second);
  EXPECT_EQ(pool.cached_blocks(), 0);
  EXPECT_EQ(pool.Allocate(), second) << "it was free, since it never had the hash";
  EXPECT_EQ(pool.Find(Hash(1)), first);
}

TEST(BlockPoolTest, AForgottenBlockIsFoundNoMore) {
  BlockPool pool(3);
  const BlockId in_use = pool.Allocate().value();
  const BlockId cached = pool.Allocate().value();
  pool.Register(in_use, Hash(1));
  pool.Register(cached, Hash(2));
  pool.Release(cached);
  pool.Forget(in_use);
  EXPECT_EQ(pool.Find(Hash(1)), std::nullopt);
  EXPECT_EQ(pool.references(in_use), 1);
  pool.Forget(in_use);
  pool.ForgetAll();
  EXPECT_EQ(pool.Find(Hash(2)), std::nullopt);
  EXPECT_EQ(pool.cached_blocks(), 0);
  EXPECT_EQ(pool.unused_blocks(), 2);
  EXPECT_EQ(pool.Allocate(), cached);
  EXPECT_EQ(pool.evictions(), 0);
}

TEST(BlockPoolDeathTest, DiesOnABlockThatIsNotInUse) {
  BlockPool pool(2);
  const BlockId block = pool.Allocate().value();
  pool.Release(block);
  EXPECT_DEATH(pool.Release(block), "block 1 is not in use");
  EXPECT_DEATH(pool.Release(BlockId{0}), "block 0 is not in use");
  EXPECT_DEATH(pool.Release(BlockId{7}), "block 7 is not in use");
  EXPECT_DEATH(pool.Register(block, Hash(1)), "block 1 is not in use");
  EXPECT_DEATH(pool.Reference(block), "block 1 is free");
  EXPECT_DEATH(pool.Reference(BlockId{0}), "block 0");
}

TEST(BlockPoolDeathTest, DiesOnASecondHash) {
  BlockPool pool(1);
  const BlockId block = pool.Allocate().value();
  pool.Register(block, Hash(1));
  EXPECT_DEATH(pool.Register(block, Hash(2)), "block 1 has a hash");
}

// What a pool should do, written down with the plainest containers.
class Model {
 public:
  explicit Model(int blocks) {
    for (int block = 1; block <= blocks; ++block) free_.insert(block);
  }
  // Whether Allocate may have given this.
  void Allocated(int block) {
    if (free_.empty()) {
      ASSERT_FALSE(cached_.empty());
      ASSERT_EQ(block, cached_.front()) << "the least recently used";
      cached_.pop_front();
      hashes_.erase(block);
      ++evictions;
    } else {
      ASSERT_EQ(free_.erase(block), 1u);
    }
    users_[block] = 1;
  }
  void Referenced(int block) {
    if (users_[block]++ == 0) cached_.erase(std::find(cached_.begin(), cached_.end(), block));
  }
  void Released(int block) {
    if (--users_[block] > 0) return;
    if (hashes_.count(block) > 0) {
      cached_.push_back(block);
    } else {
      free_.insert(block);
    }
  }
  void Registered(int block, uint64_t hash) {
    if (!Find(hash).has_value()) hashes_[block] = hash;
  }
  void Forgotten(int block) {
    if (hashes_.erase(block) == 0 || users_[block] > 0) return;
    cached_.erase(std::find(cached_.begin(), cached_.end(), block));
    free_.insert(block);
  }
  std::optional<int> Find(uint64_t hash) const {
    for (const auto& [block, its] : hashes_) {
      if (its == hash) return block;
    }
    return std::nullopt;
  }
  bool has_hash(int block) const { return hashes_.count(block) > 0; }
  int users(int block) { return users_[block]; }
  int unused() const { return static_cast<int>(free_.size() + cached_.size()); }
  int cached() const { return static_cast<int>(cached_.size()); }
  int64_t evictions = 0;

 private:
  std::set<int> free_;
  std::deque<int> cached_;
  std::map<int, uint64_t> hashes_;
  std::map<int, int> users_;
};

// One history of random calls, after each of which pool and model must agree.
void RunHistory(unsigned seed, int calls) {
  std::mt19937 random(seed);
  const auto draw = [&](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  const int blocks = draw(1, 24);
  BlockPool pool(blocks);
  Model model(blocks);
  for (int call = 0; call < calls; ++call) {
    const int number = draw(1, blocks);
    const BlockId block{number};
    const uint64_t hash = draw(1, 40);
    switch (draw(0, 7)) {
      case 0:
      case 1:
      case 2: {
        const std::optional<BlockId> got = pool.Allocate();
        ASSERT_EQ(got.has_value(), model.unused() > 0);
        if (!got.has_value()) break;
        ASSERT_NO_FATAL_FAILURE(model.Allocated(static_cast<int>(*got)));
        break;
      }
      case 3:
      case 4:
        if (model.users(number) == 0) break;
        pool.Release(block);
        model.Released(number);
        break;
      case 5:
        if (model.users(number) == 0 || model.has_hash(number)) break;
        pool.Register(block, Hash(hash));
        model.Registered(number, hash);
        break;
      case 6:
        if (const std::optional<BlockId> found = pool.Find(Hash(hash)); found.has_value()) {
          pool.Reference(*found);
          model.Referenced(static_cast<int>(*found));
        }
        break;
      case 7:
        if (draw(0, 9) > 0) break;
        pool.Forget(block);
        model.Forgotten(number);
        break;
    }
    ASSERT_EQ(pool.unused_blocks(), model.unused());
    ASSERT_EQ(pool.used_blocks(), blocks - model.unused());
    ASSERT_EQ(pool.cached_blocks(), model.cached());
    ASSERT_EQ(pool.evictions(), model.evictions);
    ASSERT_EQ(pool.references(block), model.users(number));
    const std::optional<BlockId> found = pool.Find(Hash(hash));
    const std::optional<int> expected = model.Find(hash);
    ASSERT_EQ(found.has_value(), expected.has_value());
    if (found.has_value()) {
      ASSERT_EQ(static_cast<int>(*found), *expected);
    }
  }
}

TEST(BlockPoolTest, AgreesWithAPlainModelInAMillionRandomCalls) {
  for (unsigned seed = 0; seed < 500; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    RunHistory(seed, 2000);
    if (::testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace phalanx
