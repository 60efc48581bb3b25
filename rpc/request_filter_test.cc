#include "rpc/request_filter.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

constexpr uint32_t kMax = 0x012345;
// What a message that is too long announces after the filter.
constexpr uint32_t kAboveMax = kMax + 1;

enum Type { kData = 0, kHeaders = 1, kResetStream = 3, kSettings = 4, kContinuation = 9 };
enum Flags { kNone = 0, kEndStream = 1, kPadded = 8 };

std::string Preface() { return "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"; }

std::string BigEndian(uint32_t value, int num_bytes) {
  std::string bytes;
  for (int i = num_bytes - 1; i >= 0; --i) bytes.push_back(static_cast<char>(value >> (8 * i)));
  return bytes;
}

std::string Frame(Type type, int flags, uint32_t stream, const std::string& payload) {
  return BigEndian(static_cast<uint32_t>(payload.size()), 3) + static_cast<char>(type) +
         static_cast<char>(flags) + BigEndian(stream, 4) + payload;
}

std::string Data(uint32_t stream, const std::string& payload, int flags = kNone) {
  return Frame(kData, flags, stream, payload);
}

std::string Prefix(uint32_t length) { return std::string(1, '\0') + BigEndian(length, 4); }

std::string Message(const std::string& content) {
  return Prefix(static_cast<uint32_t>(content.size())) + content;
}

struct Result {
  std::string bytes;
  bool cut = false;
};

// Gives the filter `piece_bytes` at a time.
Result Filter(const std::string& bytes, size_t piece_bytes) {
  RequestFilter filter(kMax);
  Result result{bytes};
  for (size_t i = 0; i < bytes.size() && !result.cut; i += piece_bytes) {
    result.cut = !filter.Filter(absl::MakeSpan(result.bytes).subspan(i, piece_bytes));
  }
  EXPECT_EQ(result.cut, !filter.reason().empty());
  return result;
}

// However the bytes are cut into pieces.
void ExpectBecomes(const std::string& bytes, const std::string& expected) {
  for (const size_t piece_bytes : {1, 2, 3, 4, 5, 7, 16, 1000, 1 << 20}) {
    const Result result = Filter(Preface() + bytes, piece_bytes);
    EXPECT_EQ(result.bytes, Preface() + expected) << "in pieces of " << piece_bytes;
    EXPECT_FALSE(result.cut);
  }
}

TEST(RequestFilterTest, MessagesUpToTheLimitPass) {
  for (const uint32_t length : {0u, 1u, 0xffu, 0x0100u, 0x012344u, kMax, kAboveMax}) {
    const std::string bytes = Data(1, Prefix(length));
    ExpectBecomes(bytes, bytes);
  }
}

TEST(RequestFilterTest, LongerMessagesAnnounceOneByteMoreThanTheLimit) {
  for (const uint32_t length : {kMax + 2, 0x0123ffu, 0x012400u, 0x020000u, 0x01000000u, 1u << 29,
                                0x80000000u, 0xffffffffu}) {
    ExpectBecomes(Data(1, Prefix(length)), Data(1, Prefix(kAboveMax)));
  }
}

TEST(RequestFilterTest, EachMessageOfAStreamIsLookedAt) {
  const std::string before = Frame(kSettings, kNone, 0, "") + Frame(kHeaders, kNone, 1, "headers");
  // What looks like a prefix inside of a message is content. Frames may end anywhere.
  const std::string fine = Message(Prefix(1u << 30)) + Message("") + Message("abc");
  ExpectBecomes(before + Data(1, fine + Prefix(1u << 30).substr(0, 3)) + Data(1, "") +
                    Data(1, Prefix(1u << 30).substr(3) + std::string(1000, 'x')),
                before + Data(1, fine + Prefix(kAboveMax).substr(0, 3)) + Data(1, "") +
                    Data(1, Prefix(kAboveMax).substr(3) + std::string(1000, 'x')));
}

TEST(RequestFilterTest, StreamsAreKeptApart) {
  const std::string half = Prefix(10) + "12345";
  ExpectBecomes(Data(1, half) + Data(3, half) + Data(1, "67890" + Prefix(1u << 28)) +
                    Data(3, Prefix(1u << 28)),  // Still content.
                Data(1, half) + Data(3, half) + Data(1, "67890" + Prefix(kAboveMax)) +
                    Data(3, Prefix(1u << 28)));
}

TEST(RequestFilterTest, PaddingIsNoMessage) {
  const std::string padding = Prefix(1u << 28);
  const std::string padded = static_cast<char>(padding.size()) + Message("abc") + padding;
  ExpectBecomes(Data(1, padded, kPadded) + Data(1, Prefix(1u << 28)),
                Data(1, padded, kPadded) + Data(1, Prefix(kAboveMax)));
  // A frame that is all padding, and one that announces more padding than it has.
  ExpectBecomes(Data(1, std::string(1, '\0'), kPadded) + Data(1, "\xff", kPadded) +
                    Data(1, "", kPadded) + Data(1, Prefix(1u << 28)),
                Data(1, std::string(1, '\0'), kPadded) + Data(1, "\xff", kPadded) +
                    Data(1, "", kPadded) + Data(1, Prefix(kAboveMax)));
}

TEST(RequestFilterTest, OtherProtocolsPass) {
  for (const std::string bytes : {"GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/1.1\r\n\r\n", "\x16\x03"}) {
    const std::string more = bytes + Data(1, Prefix(1u << 28));
    const Result result = Filter(more, 3);
    EXPECT_EQ(result.bytes, more);
    EXPECT_FALSE(result.cut);
  }
}

TEST(RequestFilterTest, ABlockOfHeadersHasAnEnd) {
  const auto headers = [](int num_frames, size_t frame_bytes) {
    const std::string payload(frame_bytes, 'h');
    std::string bytes = Preface() + Frame(kHeaders, kNone, 1, payload);
    for (int i = 1; i < num_frames; ++i) {
      absl::StrAppend(&bytes, Frame(kContinuation, kNone, 1, payload));
    }
    return bytes;
  };
  for (const size_t piece_bytes : {1, 100, 1 << 20}) {
    EXPECT_FALSE(Filter(headers(16, 4096), piece_bytes).cut);
    EXPECT_TRUE(Filter(headers(17, 1), piece_bytes).cut);
    EXPECT_TRUE(Filter(headers(2, (32 << 10) + 1), piece_bytes).cut);
    EXPECT_TRUE(Filter(headers(1, (64 << 10) + 1), piece_bytes).cut);
  }
  // Each block counts on its own.
  std::string blocks = headers(16, 4096);
  for (int i = 0; i < 100; ++i) absl::StrAppend(&blocks, Frame(kHeaders, kNone, 3, "headers"));
  EXPECT_FALSE(Filter(blocks, 1 << 20).cut);
}

TEST(RequestFilterTest, PartsOfMessagesAreFew) {
  const int most = static_cast<int>(RequestFilter::kMaxPartialMessages);
  const auto begun = [](int first, int count, const std::string& after) {
    std::string bytes;
    for (int i = first; i < first + count; ++i) {
      const auto stream = static_cast<uint32_t>(2 * i + 1);
      absl::StrAppend(&bytes, Data(stream, Prefix(2) + "x"),
                      after.empty() ? "" : Frame(kResetStream, kNone, stream, after));
    }
    return bytes;
  };
  const std::string full = Preface() + begun(0, most, "");
  EXPECT_FALSE(Filter(full, 1000).cut);
  EXPECT_TRUE(Filter(full + begun(most, 1, ""), 1000).cut);
  // Those that go on, end or are reset make room; whole ones take none.
  EXPECT_FALSE(Filter(full + Data(1, "y") + begun(most, 1, ""), 1000).cut);
  EXPECT_FALSE(Filter(full + Data(1, "", kEndStream) + begun(most, 1, ""), 1000).cut);
  EXPECT_FALSE(Filter(Preface() + begun(0, 2 * most, "code"), 1000).cut);
  EXPECT_FALSE(Filter(full + Data(99'999, Message("xy")), 1000).cut);
}

}  // namespace
}  // namespace phalanx
