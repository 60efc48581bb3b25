#include "model/files/json.h"

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/testing/allocated_bytes.h"
#include "model/testing/gguf_writer.h"

namespace phalanx {
namespace {

using testing::AllOf;
using testing::HasSubstr;

JsonValue Parse(absl::string_view text, const JsonLimits& limits = {}) {
  absl::StatusOr<JsonValue> value = ParseJson(text, "test", limits);
  EXPECT_TRUE(value.ok()) << value.status();
  return value.ok() ? *std::move(value) : JsonValue();
}

std::string Error(absl::string_view text, const JsonLimits& limits = {}) {
  const absl::Status status = ParseJson(text, "test", limits).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  return std::string(status.message());
}

TEST(JsonTest, EveryKindOfValueIsItself) {
  const JsonValue value = Parse(R"({"n": null, "b": true, "i": -3, "f": 1.5, "s": "é\n",
                                   "a": [1, "x", []], "o": {"k": 2}})");
  ASSERT_TRUE(value.is_object());
  EXPECT_EQ(value.members().size(), 7u);
  EXPECT_EQ(value.members()[0].key, "n");
  EXPECT_TRUE(value.Find("n")->is_null());
  EXPECT_EQ(value.Find("b")->AsBool(), true);
  EXPECT_EQ(value.Find("i")->AsInt(), -3);
  EXPECT_EQ(value.Find("i")->AsUnsigned(), std::nullopt);
  EXPECT_EQ(value.Find("i")->AsNumber(), -3.0);
  EXPECT_EQ(value.Find("f")->AsNumber(), 1.5);
  EXPECT_EQ(value.Find("f")->AsInt(), std::nullopt);
  EXPECT_EQ(*value.Find("s")->AsString(), "é\n");
  EXPECT_EQ(value.Find("a")->elements().size(), 3u);
  EXPECT_TRUE(value.Find("a")->elements()[2].is_array());
  EXPECT_EQ(value.Find("o")->Find("k")->AsInt(), 2);
  EXPECT_EQ(value.Find("other"), nullptr);
  EXPECT_EQ(value.Find("s")->Find("k"), nullptr);
  EXPECT_EQ(value.Find("s")->Describe(), R"("\xc3\xa9\n")");
  EXPECT_EQ(value.Find("a")->Describe(), "an array");
}

TEST(JsonTest, IntegersAreExactTo64Bits) {
  const JsonValue value = Parse(
      "[18446744073709551615, 9223372036854775808, 9223372036854775807, 18446744073709551616, "
      "2.0]");
  EXPECT_EQ(value.elements()[0].AsUnsigned(), UINT64_MAX);
  EXPECT_EQ(value.elements()[0].AsInt(), std::nullopt);
  EXPECT_EQ(value.elements()[1].AsUnsigned(), uint64_t{1} << 63);
  EXPECT_EQ(value.elements()[2].AsInt(), INT64_MAX);
  EXPECT_EQ(value.elements()[3].AsUnsigned(), std::nullopt);
  EXPECT_EQ(value.elements()[4].AsUnsigned(), std::nullopt);
}

TEST(JsonTest, LargeObjectsKeepTheirOrderAndFindEveryKey) {
  std::string text = "{";
  for (int i = 0; i < 1000; ++i) absl::StrAppend(&text, i == 0 ? "" : ",", "\"k", i, "\":", i);
  const JsonValue parsed = Parse(text + "}");
  const JsonValue value = Parse("[" + text + "}]");
  const JsonValue& object = value.elements()[0];
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(object.Find(absl::StrCat("k", i))->AsInt(), i);
    ASSERT_EQ(parsed.members()[i].value.AsInt(), i);
  }
  EXPECT_EQ(object.Find("k1000"), nullptr);
}

TEST(JsonTest, AKeyThatIsThereTwiceIsRefusedInSmallAndLargeObjects) {
  EXPECT_THAT(Error(R"({"a": 1, "b": {"a": 2}, "a": 3})"),
              AllOf(HasSubstr("test: byte 27"), HasSubstr("\"a\" is there twice")));
  std::string text = R"({"first": 0)";
  for (int i = 0; i < 100; ++i) absl::StrAppend(&text, ",\"k", i, "\":", i);
  EXPECT_THAT(Error(text + R"(,"k7":1})"), HasSubstr("\"k7\" is there twice"));
}

TEST(JsonTest, SyntaxErrorsTellTheByte) {
  EXPECT_THAT(Error(""), HasSubstr("test: byte 0"));
  EXPECT_THAT(Error("{\"a\": 1,}"), HasSubstr("test: byte 9"));
  EXPECT_THAT(Error("[1] 2"), HasSubstr("test: byte 5"));
  EXPECT_THAT(Error("\"\xff\""), HasSubstr("test: byte 2"));
  EXPECT_THAT(Error("[NaN]"), HasSubstr("test: byte 2"));
  EXPECT_THAT(Error("[1e999]"), HasSubstr("test: byte"));
  EXPECT_THAT(Error("{\"a\" 1}"), HasSubstr("test: byte"));
  EXPECT_THAT(Error("{\"a\": 1"), HasSubstr("expected '}'"));
}

// A C string would end there, but a JSON text does not.
TEST(JsonTest, ANulByteEndsNothing) {
  using namespace std::string_literals;  // NOLINT(build/namespaces): strings with NUL bytes.
  EXPECT_THAT(Error("{\"a\":1}\0 , evil"s),
              AllOf(HasSubstr("test: byte 7"), HasSubstr("a NUL byte")));
  EXPECT_THAT(Error("{}\0"s), HasSubstr("test: byte 2: a NUL byte"));
  EXPECT_THAT(Error("\0{}"s), HasSubstr("test: byte 0: a NUL byte"));
  EXPECT_THAT(Error("[1,\0 2]"s), HasSubstr("test: byte 3: a NUL byte"));
  EXPECT_THAT(Error("[\"\0\"]"s), HasSubstr("test: byte 2: a NUL byte"));
  EXPECT_EQ(*Parse("\"a\\u0000b\"").AsString(), "a\0b"s);
}

TEST(JsonTest, AByteOrderMarkIsRefused) {
  EXPECT_THAT(Error("\xef\xbb\xbf{}"), HasSubstr("test: byte 0: a byte order mark"));
  EXPECT_EQ(*Parse("\"\xef\xbb\xbf\"").AsString(), "\xef\xbb\xbf");
}

TEST(JsonTest, EveryTruncationIsRefused) {
  const std::string whole = R"({"a": [1, 2.5, "x\u00e9"], "b": {"c": null, "d": false}})";
  ASSERT_TRUE(ParseJson(whole, "test").ok());
  for (size_t size = 0; size < whole.size(); ++size) {
    const size_t allocated = AllocatedBytes();
    Error(whole.substr(0, size));
    EXPECT_LE(AllocatedBytes() - allocated, kAllocationBase + 128 * size);
  }
}

TEST(JsonTest, DepthIsBoundedWithoutRecursion) {
  const std::string deep(10'000'000, '[');
  const size_t allocated = AllocatedBytes();
  EXPECT_THAT(Error(deep), AllOf(HasSubstr("nested deeper than 64"), HasSubstr("byte 65")));
  EXPECT_LE(AllocatedBytes() - allocated, kAllocationBase);
  EXPECT_THAT(Error("[{\"a\": [0]}]", {.max_depth = 2}), HasSubstr("nested deeper than 2"));
  Parse("[{\"a\": [0]}]", {.max_depth = 3});
}

TEST(JsonTest, ValuesAndBytesAreBounded) {
  EXPECT_THAT(Error("[0,0,0,0]", {.max_values = 3}), HasSubstr("more than 3 values"));
  EXPECT_THAT(Error("[0,0,0,0]", {.max_bytes = 8}), HasSubstr("9 bytes"));
}

TEST(JsonTest, FilesAreReadAndNamed) {
  const absl::StatusOr<JsonValue> value = ReadJsonFile(WriteTempFile("good.json", "[7]"));
  ASSERT_TRUE(value.ok()) << value.status();
  EXPECT_EQ(value->elements()[0].AsInt(), 7);
  EXPECT_THAT(std::string(ReadJsonFile(WriteTempFile("bad.json", "[7")).status().message()),
              HasSubstr("bad.json: byte 2"));
  EXPECT_EQ(ReadJsonFile("/nonexistent.json").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReadJsonFile(WriteTempFile("empty.json", "")).status().code(),
            absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace phalanx
