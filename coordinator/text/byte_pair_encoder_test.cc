#include "coordinator/text/byte_pair_encoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

TEST(BytePairEncoderTest, RefusesMergesThatMakeNoToken) {
  for (const std::pair<int32_t, int32_t>& merge : {std::pair{2, 0}, {0, 6}, {6, 0}, {-1, 0}}) {
    EXPECT_EQ(BytePairEncoder::Create(Assets({merge})).status().code(),
              absl::StatusCode::kInvalidArgument)
        << merge.first << " " << merge.second;
  }
}

}  // namespace
}  // namespace phalanx
