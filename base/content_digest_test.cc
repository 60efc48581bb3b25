#include "base/content_digest.h"

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

absl::Span<const std::byte> Bytes(absl::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

std::string DigestOf(absl::string_view text) {
  ContentDigest digest;
  digest.Add(Bytes(text));
  return digest.Hex();
}

TEST(ContentDigestTest, IsTheOneThatXxhsumPrints) {
  // As printf abc | xxhsum -H2 says, and the same of no bytes.
  EXPECT_EQ(DigestOf("abc"), "06b05ab6733a618578af5f94892f3950");
  EXPECT_EQ(DigestOf(""), "99aa06d3014798d86001c324468d497f");
}

TEST(ContentDigestTest, DoesNotDependOnHowTheBytesWereCut) {
  std::string text;
  for (int i = 0; i < 10000; ++i) text.push_back(static_cast<char>(i * 31 >> 3));
  ContentDigest cut;
  for (size_t begin = 0; begin < text.size(); begin += 777) {
    cut.Add(Bytes(absl::string_view(text).substr(begin, 777)));
  }
  EXPECT_EQ(cut.Hex(), DigestOf(text));
}

TEST(ContentDigestTest, OneBitAnywhereIsSeen) {
  const std::string text(4096, 'x');
  const std::string digest = DigestOf(text);
  for (size_t i = 0; i < text.size(); i += 97) {
    std::string changed = text;
    changed[i] ^= 1;
    EXPECT_NE(DigestOf(changed), digest) << i;
  }
}

}  // namespace
}  // namespace phalanx
