#include "model/sharding/shard.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using testing::HasSubstr;

ModelSpec SmolLm2() {
  ModelSpec spec;
  spec.num_layers = 30;
  spec.hidden = 576;
  spec.num_q_heads = 9;
  spec.num_kv_heads = 3;
  spec.head_dim = 64;
  spec.ffn = 1536;
  spec.vocab = 49152;
  return spec;
}

Shard MustShard(const ModelSpec& spec, int rank, int world) {
  const auto shard = ShardModel(spec, rank, world);
  EXPECT_TRUE(shard.ok()) << shard.status();
  return shard.value_or(Shard{});
}

TEST(ShardTest, AloneHasEverything) {
  const Shard shard = MustShard(SmolLm2(), 0, 1);
  EXPECT_EQ(shard.kv_heads.size(), 3);
  EXPECT_EQ(shard.q_heads.size(), 9);
  EXPECT_EQ(shard.ffn.size(), 1536);
  EXPECT_EQ(shard.vocab.size(), 49152);
}

TEST(ShardTest, NineHeadsOverTwoRanksAreSixAndThree) {
  const Shard first = MustShard(SmolLm2(), 0, 2);
  const Shard second = MustShard(SmolLm2(), 1, 2);
  EXPECT_EQ(first.kv_heads.size(), 2);
  EXPECT_EQ(first.q_heads.size(), 6);
  EXPECT_EQ(second.kv_heads.size(), 1);
  EXPECT_EQ(second.q_heads.begin, 6);
  EXPECT_EQ(second.q_heads.size(), 3);
  EXPECT_EQ(first.ffn.size(), 768) << "ranks wait for each other after attention and after the FFN";
  EXPECT_EQ(second.ffn.size(), 768);
  EXPECT_EQ(first.vocab.size(), 24576);
}

TEST(ShardTest, RanksPartitionTheModel) {
  for (const int kv_heads : {1, 2, 3, 5, 8}) {
    for (const int group : {1, 3}) {
      for (const int ffn : {256, 1536, 1000}) {
        ModelSpec spec = SmolLm2();
        spec.num_kv_heads = kv_heads;
        spec.num_q_heads = kv_heads * group;
        spec.head_dim = 32;
        spec.ffn = ffn;
        spec.vocab = 1003;
        for (int world = 1; world <= kv_heads; ++world) {
          Shard end;
          for (int rank = 0; rank < world; ++rank) {
            const Shard shard = MustShard(spec, rank, world);
            EXPECT_EQ(shard.rank, rank);
            EXPECT_EQ(shard.world, world);
            EXPECT_EQ(shard.kv_heads.begin, end.kv_heads.end);
            EXPECT_EQ(shard.q_heads.begin, end.q_heads.end);
            EXPECT_EQ(shard.q_heads.size(), group * shard.kv_heads.size());
            EXPECT_EQ(shard.ffn.begin, end.ffn.end);
            EXPECT_EQ(shard.ffn.begin % 32, 0);
            EXPECT_GT(shard.ffn.size(), 0);
            EXPECT_EQ(shard.vocab.begin, end.vocab.end);
            EXPECT_GT(shard.vocab.size(), 0);
            end = shard;
          }
          EXPECT_EQ(end.kv_heads.end, kv_heads);
          EXPECT_EQ(end.q_heads.end, spec.num_q_heads);
          EXPECT_EQ(end.ffn.end, ffn);
          EXPECT_EQ(end.vocab.end, 1003);
        }
      }
    }
  }
}

TEST(ShardTest, ColumnsOfRanksDifferByNoMoreThanABlockAndTheLastHaveMore) {
  ModelSpec spec = SmolLm2();
  spec.num_kv_heads = spec.num_q_heads = 8;
  for (const int blocks : {8, 11, 48}) {
    spec.ffn = blocks * 32;
    for (int world = 1; world <= 8; ++world) {
      const int least = MustShard(spec, 0, world).ffn.size();
      EXPECT_EQ(least, blocks / world * 32);
      for (int rank = 1; rank < world; ++rank) {
        const int size = MustShard(spec, rank, world).ffn.size();
        EXPECT_TRUE(size == least || size == least + 32) << rank << " of " << world;
      }
      const int most = (blocks + world - 1) / world * 32;
      EXPECT_EQ(MustShard(spec, world - 1, world).ffn.size(), most);
    }
  }
}

TEST(ShardTest, MoreRanksThanKvHeadsAreRefusedTellingTheLargest) {
  const absl::Status status = ShardModel(SmolLm2(), 0, 4).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("at most 3"));
}

TEST(ShardTest, RankOutsideTheWorldIsRefused) {
  EXPECT_EQ(ShardModel(SmolLm2(), 2, 2).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ShardModel(SmolLm2(), -1, 2).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ShardModel(SmolLm2(), 0, 0).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ShardTest, TooFewColumnsOrRowsAreRefusedToEveryRank) {
  ModelSpec spec = SmolLm2();
  spec.ffn = 64;
  EXPECT_TRUE(ShardModel(spec, 1, 2).ok());
  ModelSpec few_rows = SmolLm2();
  few_rows.vocab = 2;
  for (int rank = 0; rank < 3; ++rank) {
    for (const ModelSpec& few : {spec, few_rows}) {
      const absl::Status status = ShardModel(few, rank, 3).status();
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << rank;
      EXPECT_THAT(std::string(status.message()), HasSubstr("do not reach for 3 ranks"));
    }
  }
}

TEST(ShardTest, ColumnsAreCutBetweenBlocksWhereThereAreEnough) {
  ModelSpec spec = SmolLm2();
  spec.ffn_block = 256;
  spec.ffn = 5 * 256;
  for (const int world : {2, 3}) {
    for (int rank = 0; rank < world; ++rank) {
      EXPECT_EQ(MustShard(spec, rank, world).ffn.begin % 256, 0) << rank << " of " << world;
    }
  }
  // Two blocks for three ranks: they are cut, at the smallest kind of block.
  spec.ffn = 2 * 256;
  for (int rank = 0; rank < 3; ++rank) {
    const Range ffn = MustShard(spec, rank, 3).ffn;
    EXPECT_EQ(ffn.begin % 32, 0);
    EXPECT_GT(ffn.size(), 0);
  }
}

TEST(ShardTest, LessThanABlockOfColumnsIsEnoughForOneRank) {
  ModelSpec spec = SmolLm2();
  spec.ffn = 24;
  EXPECT_EQ(MustShard(spec, 0, 1).ffn.end, 24);
}

}  // namespace
}  // namespace phalanx
