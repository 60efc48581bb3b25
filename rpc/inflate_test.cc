#include "rpc/inflate.h"

#include <zlib.h>

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kLimit = 100'000;

std::string Deflate(const std::string& text, Compression compression) {
  z_stream stream = {};
  const int window_bits = compression == Compression::kGzip ? 15 + 16 : 15;
  EXPECT_EQ(deflateInit2(&stream, 9, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(out.size() - stream.avail_out);
  deflateEnd(&stream);
  return out;
}

class InflateTest : public ::testing::TestWithParam<Compression> {
 protected:
  std::string ErrorOf(const std::string& bytes) {
    const absl::Status status = Inflate(bytes, GetParam(), kLimit).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  }
};

TEST_P(InflateTest, GivesBackWhatWasCompressed) {
  std::string text;
  for (int i = 0; static_cast<int64_t>(text.size()) < kLimit - 8; ++i) text += std::to_string(i);
  for (const std::string& original : {std::string(), std::string("a"), text}) {
    EXPECT_EQ(*Inflate(Deflate(original, GetParam()), GetParam(), kLimit), original);
  }
}

TEST_P(InflateTest, TheLimitIsExact) {
  const std::string most(kLimit, 'x');
  EXPECT_EQ(*Inflate(Deflate(most, GetParam()), GetParam(), kLimit), most);
  EXPECT_THAT(ErrorOf(Deflate(most + "x", GetParam())), HasSubstr("more than 100000"));
}

TEST_P(InflateTest, ABombIsRefusedWithoutBeingInflated) {
  const std::string bomb = Deflate(std::string(16 << 20, '\0'), GetParam());
  EXPECT_THAT(ErrorOf(bomb), HasSubstr("more than 100000"));
}

TEST_P(InflateTest, EveryTruncationIsRefused) {
  const std::string whole = Deflate("hello hello hello", GetParam());
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_THAT(ErrorOf(whole.substr(0, size)), HasSubstr("malformed or truncated")) << size;
  }
}

TEST_P(InflateTest, BytesBehindTheStreamAreRefused) {
  EXPECT_THAT(ErrorOf(Deflate("hello", GetParam()) + "x"), HasSubstr("malformed"));
}

TEST_P(InflateTest, PlainBytesAreRefused) { EXPECT_THAT(ErrorOf("hello"), HasSubstr("malformed")); }

TEST_P(InflateTest, AStreamThatWantsADictionaryIsRefused) {
  EXPECT_THAT(ErrorOf("\x78\xbb\x01\x02\x03\x04\x05"), HasSubstr("malformed"));
}

INSTANTIATE_TEST_SUITE_P(Formats, InflateTest,
                         ::testing::Values(Compression::kGzip, Compression::kZlib));

}  // namespace
}  // namespace phalanx
