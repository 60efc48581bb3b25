#include "worker/kv_cache/block_hash.h"

#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/step_batch.h"

namespace phalanx {
namespace {

std::vector<int32_t> Tokens(int first = 0) {
  std::vector<int32_t> tokens(kernels::kKvBlockTokens);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

TEST(BlockHashTest, EqualContentsHaveEqualHashes) {
  BlockHasher one;
  BlockHasher other;
  // The second call of a hasher knows nothing of the first.
  other.Root(1, "x");
  EXPECT_EQ(one.Root(0, "salt"), other.Root(0, "salt"));
  EXPECT_EQ(one.Next(one.Root(0, "salt"), Tokens()), other.Next(other.Root(0, "salt"), Tokens()));
}

TEST(BlockHashTest, WhateverKeysAndValuesDependOnChangesTheHash) {
  BlockHasher hasher;
  const BlockHash root = hasher.Root(0, "");
  const BlockHash block = hasher.Next(root, Tokens());
  EXPECT_FALSE(root == hasher.Root(1, "")) << "the rotary list";
  EXPECT_FALSE(root == hasher.Root(0, "a")) << "the salt";
  EXPECT_FALSE(hasher.Root(0, "a") == hasher.Root(0, std::string("a\0", 2)));
  EXPECT_FALSE(block == hasher.Next(hasher.Root(0, "a"), Tokens())) << "what comes before";
  EXPECT_FALSE(block == hasher.Next(block, Tokens())) << "what comes before";
  for (int i = 0; i < kernels::kKvBlockTokens; ++i) {
    std::vector<int32_t> tokens = Tokens();
    tokens[i] += 1 << 16;
    EXPECT_FALSE(block == hasher.Next(root, tokens)) << "token " << i;
  }
}

// Given by sha256sum for a zero of 32 bits.
TEST(BlockHashTest, IsSha256) {
  const BlockHash root = BlockHasher().Root(0, "");
  const auto* const bytes = reinterpret_cast<const unsigned char*>(root.words.data());
  EXPECT_EQ(std::vector<int>(bytes, bytes + 4), (std::vector<int>{0xdf, 0x3f, 0x61, 0x98}));
}

TEST(BlockHashDeathTest, DiesOnAPartOfABlock) {
  BlockHasher hasher;
  EXPECT_DEATH(hasher.Next(hasher.Root(0, ""), std::vector<int32_t>(15)), "15");
}

}  // namespace
}  // namespace phalanx
