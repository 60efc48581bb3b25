#include "coordinator/admission/json_object.h"

#include <string>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

std::string Nested(int depth) {
  std::string json;
  for (int i = 0; i < depth; ++i) json += "{\"a\":";
  json += "0";
  for (int i = 0; i < depth; ++i) json += "}";
  return json;
}

TEST(JsonObjectTest, AcceptsObjects) {
  for (const std::string json :
       {"{}", " {\"a\": [1, -2.5e-3, true, null, \"\\u00e9\"]}\n",
        "{\"a\": {\"a\": -9223372036854775808}, \"a\": 18446744073709551615}"}) {
    EXPECT_EQ(FindJsonObjectProblem(json), "") << json;
  }
  EXPECT_EQ(FindJsonObjectProblem(Nested(kMaxJsonDepth)), "");
}

TEST(JsonObjectTest, NeighboursAreNotNested) {
  std::string neighbours = "{\"a\": [{}";
  for (int i = 0; i < 2 * kMaxJsonDepth; ++i) neighbours += ", {\"b\": []}";
  EXPECT_EQ(FindJsonObjectProblem(neighbours + "]}"), "");
}

TEST(JsonObjectTest, TellsWhatIsWrong) {
  const struct {
    std::string json;
    std::string problem;
  } cases[] = {
      {"", "is no JSON at byte 0"},
      {"{", "is no JSON at byte 1"},
      {"{\"a\": 1,}", "is no JSON at byte 8"},
      {"{} {}", "is no JSON at byte 3"},
      {"{\"a\": NaN}", "is no JSON at byte 6"},
      {"[]", "must be a JSON object"},
      {"\"a\"", "must be a JSON object"},
      {"1", "must be a JSON object"},
      {"null", "must be a JSON object"},
      {"{\"a\": 18446744073709551616}", "the integer 18446744073709551616 is not in [-2^63, 2^64)"},
      {"{\"a\": -9223372036854775809}", "the integer -9223372036854775809 is not in [-2^63, 2^64)"},
      {Nested(kMaxJsonDepth + 1), "is nested more than 64 deep"},
      {Nested(1'000'000), "is nested more than 64 deep"},
  };
  for (const auto& bad : cases) {
    EXPECT_EQ(FindJsonObjectProblem(bad.json), bad.problem) << bad.json.substr(0, 40);
  }
  EXPECT_NE(FindJsonObjectProblem("{\"a\": 1e999}"), "");
  EXPECT_NE(FindJsonObjectProblem("{\"a\": \"\\ud800\"}"), "");
}

TEST(JsonObjectTest, TheWholeTextIsRead) {
  using namespace std::string_literals;  // NOLINT(build/namespaces): strings with NUL bytes.
  const struct {
    std::string json;
    std::string problem;
  } cases[] = {
      {"{\"a\": 1}\0 , evil"s, "is no JSON at byte 8: a NUL byte, which JSON does not allow"},
      {"{}\0"s, "is no JSON at byte 2: a NUL byte, which JSON does not allow"},
      {"\0{}"s, "is no JSON at byte 0: a NUL byte, which JSON does not allow"},
      {"{\"a\0\": 1}"s, "is no JSON at byte 3: a NUL byte, which JSON does not allow"},
      {"\xef\xbb\xbf{}", "is no JSON at byte 0: a byte order mark, which JSON does not allow"},
  };
  for (const auto& bad : cases) EXPECT_EQ(FindJsonObjectProblem(bad.json), bad.problem);
  EXPECT_EQ(FindJsonObjectProblem("{\"a\\u0000\": \"\\u0000\"}"), "");
}

}  // namespace
}  // namespace phalanx
