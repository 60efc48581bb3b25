#include "coordinator/text/tokenizer/byte_pair_encoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace phalanx {
namespace {

using testing::ElementsAre;

TokenizerAssets Assets(std::vector<std::pair<int32_t, int32_t>> merges) {
  TokenizerAssets assets;
  assets.token_bytes = {"a", "b", "c", "ab", "bc", "abc"};
  assets.token_kinds.assign(assets.token_bytes.size(), TokenKind::kNormal);
  assets.merges = std::move(merges);
  return assets;
}

void Encode(const TokenizerAssets& assets, absl::string_view piece, std::vector<int32_t>* ids) {
  BytePairEncoder::Create(assets)->Encode(piece, ids);
}

TEST(BytePairEncoderTest, TheOrderOfMergesIsTheirRank) {
  std::vector<int32_t> ids;
  Encode(Assets({{0, 1}, {1, 2}}), "abc", &ids);
  EXPECT_THAT(ids, ElementsAre(3, 2));
  ids.clear();
  Encode(Assets({{1, 2}, {0, 1}}), "abc", &ids);
  EXPECT_THAT(ids, ElementsAre(0, 4));
  ids.clear();
  Encode(Assets({{1, 2}, {0, 1}, {0, 4}}), "abc", &ids);
  EXPECT_THAT(ids, ElementsAre(5));
}

TEST(BytePairEncoderTest, AppendsToWhatIsThere) {
  std::vector<int32_t> ids = {7};
  Encode(Assets({}), "ab", &ids);
  EXPECT_THAT(ids, ElementsAre(7, 0, 1));
}

// Counts look-ups instead of time, since they show at once if the work is more than linear.
TEST(BytePairEncoderTest, LooksUpAtMostThreePairsForAByteOfAnyPiece) {
  // Every doubling of a letter is a token, and the merges go on to the end.
  TokenizerAssets assets;
  for (int32_t size = 1; size <= 1 << 16; size *= 2) {
    assets.token_bytes.emplace_back(static_cast<size_t>(size), 'a');
    const auto id = static_cast<int32_t>(assets.token_bytes.size()) - 1;
    if (id > 0) assets.merges.emplace_back(id - 1, id - 1);
  }
  assets.token_kinds.assign(assets.token_bytes.size(), TokenKind::kNormal);
  const BytePairEncoder encoder = *BytePairEncoder::Create(assets);
  for (const size_t bytes : {40u, 100u, 1000u, 10'000u, 100'000u}) {
    std::vector<int32_t> ids;
    const size_t lookups = encoder.Encode(std::string(bytes, 'a'), &ids);
    EXPECT_GE(lookups, bytes - 1);
    EXPECT_LE(lookups, 3 * bytes) << bytes;
    size_t sum = 0;
    for (const int32_t id : ids) sum += size_t{1} << id;
    EXPECT_EQ(sum, bytes);
  }
}

// Compares with the definition, which merges the leftmost pair of the lowest rank until there is
// none.
TEST(BytePairEncoderTest, LongPiecesMergeAsShortOnesDo) {
  const TokenizerAssets assets = Assets({{1, 2}, {0, 1}, {0, 4}, {3, 2}});
  const BytePairEncoder encoder = *BytePairEncoder::Create(assets);
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    std::string piece(49 + random() % 100, ' ');
    for (char& byte : piece) byte = static_cast<char>('a' + random() % 3);
    std::vector<int32_t> expected;
    for (const char byte : piece) expected.push_back(byte - 'a');
    for (bool merged = true; merged;) {
      merged = false;
      for (size_t rank = 0; rank < assets.merges.size() && !merged; ++rank) {
        const int32_t pair[] = {assets.merges[rank].first, assets.merges[rank].second};
        const auto at = std::search(expected.begin(), expected.end(), pair, pair + 2);
        if (at == expected.end()) continue;
        *at = rank == 0 ? 4 : rank == 1 ? 3 : 5;
        expected.erase(at + 1);
        merged = true;
      }
    }
    std::vector<int32_t> ids;
    encoder.Encode(piece, &ids);
    ASSERT_EQ(ids, expected) << piece;
  }
}

TEST(BytePairEncoderTest, RefusesMergesThatMakeNoToken) {
  for (const std::pair<int32_t, int32_t>& merge : {std::pair{2, 0}, {0, 6}, {6, 0}, {-1, 0}}) {
    EXPECT_EQ(BytePairEncoder::Create(Assets({merge})).status().code(),
              absl::StatusCode::kInvalidArgument)
        << merge.first << " " << merge.second;
  }
}

}  // namespace
}  // namespace phalanx
