#include "rpc/message_cost.h"

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "phalanx/v1/inference.pb.h"
#include "phalanx/worker/v1/engine.pb.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kNoLimit = int64_t{1} << 40;
// The size of each bomb on the wire.
constexpr int kBombBytes = 1 << 18;

std::string Varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  return out + static_cast<char>(value);
}

std::string Field(int number, const std::string& text) {
  return Varint(number << 3 | 2) + Varint(text.size()) + text;
}

std::string Repeat(const std::string& bytes) {
  std::string out;
  while (out.size() < kBombBytes) out += bytes;
  return out;
}

// A request that is small on the wire and large when it is built. `field` is what the error names.
struct Bomb {
  const char* name;
  const char* field;
  std::string bytes;
};

std::vector<Bomb> Bombs() {
  return {
      {"messages", "chat.messages:", Field(3, Repeat(Field(1, "")))},
      {"tools", "chat.tools:", Field(3, Repeat(Field(2, "")))},
      {"calls", "chat.messages.tool_calls:", Field(3, Field(1, Repeat(Field(3, ""))))},
      {"stops", "stop:", Repeat(Field(9, ""))},
      {"one-letter stops", "stop:", Repeat(Field(9, "a"))},
      {"packed ids", "tokens.ids:", Field(4, Field(1, std::string(kBombBytes, '\1')))},
      {"unpacked ids", "tokens.ids:", Field(4, Repeat("\x08\x01"))},
      {"one message again and again", "sampling:", Repeat(Field(5, ""))},
      {"unknown numbers", "an unknown field:", Repeat(Varint(1000 << 3) + "\1")},
      {"unknown texts", "an unknown field:", Repeat(Varint(1000 << 3 | 2) + std::string(1, '\0'))},
      {"unknown within",
       "chat.messages.an unknown field:", Field(3, Field(1, Repeat(Field(15, ""))))},
      // A known field number with a wire type that is not the field's own is an unknown field too.
      {"unknown by its wire type", "text:", Repeat("\x10\x01")},
  };
}

TEST(MessageCostTest, EveryKindOfBombIsRefusedByName) {
  for (const Bomb& bomb : Bombs()) {
    const absl::Status status =
        MeasureMessage(v1::GenerateRequest(), bomb.bytes, 2 * kBombBytes).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bomb.name;
    EXPECT_THAT(std::string(status.message()), ::testing::StartsWith(bomb.field)) << bomb.name;
  }
}

TEST(MessageCostTest, CoversWhatParsingBuilds) {
  for (const Bomb& bomb : Bombs()) {
    v1::GenerateRequest request;
    ASSERT_TRUE(request.ParseFromString(bomb.bytes)) << bomb.name;
    const absl::StatusOr<MessageCost> cost = MeasureMessage(request, bomb.bytes, kNoLimit);
    ASSERT_TRUE(cost.ok()) << bomb.name << cost.status();
    // Twice: lists grow by doubling.
    const auto most = 2 * cost->bytes + static_cast<int64_t>(v1::GenerateRequest().SpaceUsedLong());
    EXPECT_LE(static_cast<int64_t>(request.SpaceUsedLong()), most) << bomb.name;
    EXPECT_EQ(!cost->unknown_field.empty(), absl::StrContains(bomb.name, "unknown")) << bomb.name;
  }
}

TEST(MessageCostTest, OrdinaryRequestsCostLittleMoreThanTheirBytes) {
  v1::GenerateRequest chat;
  for (int i = 0; i < 1000; ++i) {
    v1::Message& message = *chat.mutable_chat()->add_messages();
    message.set_role("user");
    message.set_content(std::string(1000, 'x'));
  }
  v1::GenerateRequest tokens;
  for (int i = 0; i < 100'000; ++i) tokens.mutable_tokens()->add_ids(50'000 + i);
  v1::GenerateRequest text;
  text.set_text(std::string(1 << 20, 'x'));
  for (const v1::GenerateRequest& request : {chat, tokens, text}) {
    const std::string bytes = request.SerializeAsString();
    const absl::StatusOr<MessageCost> cost = MeasureMessage(request, bytes, 4 << 20);
    ASSERT_TRUE(cost.ok()) << cost.status();
    EXPECT_EQ(cost->unknown_field, "");
    EXPECT_LT(cost->bytes, 1'300'000);
  }
}

TEST(MessageCostTest, NamesTheFirstUnknownField) {
  const auto unknown_field = [](const std::string& bytes) {
    return MeasureMessage(v1::GenerateRequest(), bytes, kNoLimit)->unknown_field;
  };
  const std::string number_1000("\xc0\x3e\x01", 3);  // A varint.
  EXPECT_EQ(unknown_field(number_1000), "1000");
  // In `sampling`, behind a field that is known; and in the second message of `chat`.
  EXPECT_EQ(unknown_field(Field(5, number_1000) + Field(9, "stop")), "sampling.1000");
  EXPECT_EQ(unknown_field(Field(3, Field(1, "") + Field(1, number_1000))), "chat.messages.1000");
  // The message around it is left again.
  EXPECT_EQ(unknown_field(Field(5, "") + number_1000), "1000");
  // max_new_tokens as a text.
  EXPECT_EQ(unknown_field(Field(6, "12")), "max_new_tokens");
}

TEST(MessageCostTest, MeasuresTheWorkersMessages) {
  worker::v1::SessionRequest request;
  const std::string bomb = Field(1, Field(2, std::string(kBombBytes, '\1')));
  EXPECT_THAT(std::string(MeasureMessage(request, bomb, kBombBytes).status().message()),
              HasSubstr("submit.prompt_token_ids: "));
}

TEST(MessageCostTest, EveryTruncationIsMalformedForItAsForTheParser) {
  v1::GenerateRequest request;
  request.mutable_chat()->add_messages()->set_content("hello");
  request.mutable_tokens()->add_ids(70'000);
  request.mutable_sampling()->set_seed(1);
  request.mutable_sampling()->set_temperature(1);
  request.add_stop("x");
  const std::string whole = request.SerializeAsString();
  for (size_t size = 0; size <= whole.size(); ++size) {
    const std::string bytes = whole.substr(0, size);
    v1::GenerateRequest parsed;
    EXPECT_EQ(MeasureMessage(request, bytes, kNoLimit).ok(), parsed.ParseFromString(bytes)) << size;
  }
}

TEST(MessageCostTest, MalformedBytesAreRefused) {
  const std::string bad[] = {
      std::string("\xff\xff\xff\xff\xff"),                              // a tag without end
      std::string("\xb0\x80\x80\x80\x80\x00\x01", 7),                   // 6 bytes of tag
      std::string("\x12\xff\xff\xff\xff\x7f"),                          // a length of 2^35
      std::string("\x12\xff\xff\xff\xff\x0f"),                          // a length of 2^32 - 1
      std::string("\x12\x81\x80\x80\x80\x80\x00x", 8),                  // 6 bytes of length
      std::string("\x12\x7f"),                                          // a length beyond the end
      std::string("\x1a\x02\x0a\x05zzzzz"),                             // one beyond its message
      std::string("\x0b\x0c"),                                          // a group
      std::string("\x0c"),                                              // the end of none
      std::string("\x0e"),                                              // wire type 6
      std::string("\x00", 1),                                           // field 0
      std::string("\x02\x01x"),                                         // field 0 with a text
      std::string("\x22\x03\x0a\x7f\x01"),                              // packed beyond its message
      std::string("\x22\x04\x0a\x02\x01\x80"),                          // packed, cut in an element
      std::string("\x30\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01"),  // 11 bytes of varint
      Field(4, Field(1, std::string(10, '\x80') + '\1')),               // the same, packed
  };
  for (const std::string& bytes : bad) {
    EXPECT_THAT(
        std::string(MeasureMessage(v1::GenerateRequest(), bytes, kNoLimit).status().message()),
        HasSubstr("truncated or malformed"))
        << testing::PrintToString(bytes);
    v1::GenerateRequest parsed;
    EXPECT_TRUE(bytes == "\x0b\x0c" || !parsed.ParseFromString(bytes))
        << testing::PrintToString(bytes);
  }
}

}  // namespace
}  // namespace phalanx
