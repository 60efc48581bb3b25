// Tests of hostile tokenizer.json files: cut off, with counts that wrap, nested.

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/testing/allocated_bytes.h"
#include "model/testing/hf_folder.h"
#include "model/text/tokenizer_assets.h"
#include "model/text/tokenizer_assets_hf.h"

namespace phalanx {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr int kVocab = 1 << 24;
constexpr absl::string_view kSmall = R"({
  "added_tokens": [{"id": 3, "content": "<s>", "special": true}],
  "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
  "post_processor": {"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}],
    "special_tokens": {"<s>": {"ids": [3]}}},
  "decoder": {"type": "ByteLevel"},
  "model": {"type": "BPE", "vocab": {"t": 0, "h": 1, "th": 2}, "merges": ["t h"]}})";

// The parts of the small file that a case changes.
std::string With(absl::string_view old_text, absl::string_view new_text) {
  std::string text = absl::StrReplaceAll(kSmall, {{old_text, new_text}});
  EXPECT_NE(text, kSmall) << old_text;
  return text;
}

// Nothing large may be allocated before an error: a JSON value of two bytes takes some tens of
// bytes, in a vector that grows.
absl::Status StatusOf(const std::string& text) {
  const std::string folder = WriteTempFolder("tokenizer", {{"tokenizer.json", text}});
  const size_t allocated = AllocatedBytes();
  const absl::Status status = ReadTokenizerAssets(folder, kVocab).status();
  EXPECT_LE(AllocatedBytes() - allocated, 2 * kAllocationBase + 256 * text.size());
  return status;
}

TEST(TokenizerJsonShapesTest, TheSmallFileIsRead) {
  const absl::Status status = StatusOf(std::string(kSmall));
  EXPECT_TRUE(status.ok()) << status;
}

TEST(TokenizerJsonShapesTest, TruncationAtEveryByteIsDataLoss) {
  for (size_t size = 0; size < kSmall.size(); ++size) {
    const absl::Status status = StatusOf(std::string(kSmall.substr(0, size)));
    ASSERT_EQ(status.code(), absl::StatusCode::kDataLoss) << size << " " << status;
    ASSERT_THAT(std::string(status.message()), HasSubstr("tokenizer.json: "));
  }
}

TEST(TokenizerJsonShapesTest, BadShapesAreRefusedNamingFileKeyAndReason) {
  const std::string deep(100000, '[');
  const struct {
    std::string text;
    std::string message;
  } cases[] = {
      {With(R"("th": 2)", R"("th": 9223372036854775808)"),
       "model.vocab: \"th\": 9223372036854775808 is not an id in 0 to"},
      {With(R"("th": 2)", R"("th": 18446744073709551615)"),
       "model.vocab: \"th\": 18446744073709551615 is not an id in 0 to"},
      // This is 2 if it is cut to 32 bits.
      {With(R"("th": 2)", R"("th": 4294967298)"), "model.vocab: \"th\": 4294967298 is not an id"},
      {With(R"("th": 2)", R"("th": -1)"), "model.vocab: \"th\": -1 is not an id"},
      // The model's table has that row, but nearly all before it would be holes.
      {With(R"("th": 2)", R"("th": 16777215)"), "model.vocab: \"th\": 16777215 is not an id"},
      {With(R"("th": 2)", R"("th": 1)"), "model.vocab: id 1 is there twice"},
      {With(R"("th": 2)", R"("t": 2)"), "key \"t\" is there twice"},
      {With(R"("id": 3)", R"("id": 9223372036854775808)"),
       "added_tokens[0]: 9223372036854775808 is not an id in 0 to"},
      {With(R"("id": 3)", R"("id": 16777215)"), "added_tokens[0]: 16777215 is not an id"},
      {With(R"("id": 3)", R"("id": 1)"), "added_tokens[0]: id 1 of \"<s>\" is that of another"},
      {With(R"("ids": [3])", R"("ids": [9223372036854775808])"),
       "post_processor.special_tokens: \"<s>\" is not one token there"},
      {With(R"("ids": [3])", R"("ids": [2147483647])"),
       "post_processor: token 2147483647 is not there"},
      {With(R"("ids": [3])", R"("ids": [4])"), "post_processor: token 4 is not there"},
      {With(R"("t h")", R"("t t")"), "model.merges: [0]: \"t\" and \"t\" are not two tokens"},
      {With(R"("t h")", R"(["t", "h", "h"])"), "model.merges: [0]: an array is not a pair"},
      {With(R"(["t h"])", deep), "nested deeper than 64"},
      {With(R"({"t": 0, "h": 1, "th": 2})", R"({"t": )" + deep), "nested deeper than 64"},
      {With(R"("single": [)", R"("single": [)" + deep), "nested deeper than 64"},
  };
  for (const auto& bad : cases) {
    const absl::Status status = StatusOf(bad.text);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << bad.message << " " << status;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("tokenizer.json: "), HasSubstr(bad.message)));
  }
}

}  // namespace
}  // namespace phalanx
