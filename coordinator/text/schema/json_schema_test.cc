#include "coordinator/text/schema/json_schema.h"

#include <string>

#include "coordinator/text/jinja/local_jinja.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;
using Verdict = JsonSchema::Verdict;

std::unique_ptr<JsonSchema> Schema(const std::string& text) {
  return JsonSchema::Create(text).value();
}

TEST(JsonSchemaTest, ChecksValuesAndSaysWhy) {
  const auto schema = Schema(
      R"({"type": "object", "properties": {"unit": {"enum": ["c", "f"]}}, "required": ["city"]})");
  EXPECT_EQ(schema->Check(R"({"city": "Oslo", "unit": "c"})").verdict, Verdict::kValid);
  const JsonSchema::Result wrong = schema->Check(R"({"city": "Oslo", "unit": "k"})");
  EXPECT_EQ(wrong.verdict, Verdict::kInvalid);
  EXPECT_THAT(wrong.reason, HasSubstr("/unit: \"k\""));
  EXPECT_THAT(schema->Check("{}").reason, HasSubstr("city"));
  EXPECT_EQ(schema->Check("{").verdict, Verdict::kInvalid);
  EXPECT_EQ(schema->Check("{\"city\": \"\\ud800\"}").verdict, Verdict::kInvalid);
}

TEST(JsonSchemaTest, RefusesWhatIsNoSchema) {
  for (const std::string bad :
       {R"({"type": "strin"})", R"({"minimum": "1"})", R"({"$ref": "#/nowhere"})", "{"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(JsonSchema::Create(bad).status())) << bad;
  }
}

TEST(JsonSchemaTest, LeavesUncheckedWhatHasNoBound) {
  const auto schema = Schema(R"({"$ref": "#"})");
  EXPECT_EQ(schema->Check("{}").verdict, Verdict::kUnchecked);
  EXPECT_THAT(schema->Check("{}").reason, HasSubstr("refers to itself"));
  EXPECT_EQ(Schema(R"({"$ref": "file:///etc/passwd"})")->Check("1").verdict, Verdict::kUnchecked);
}

TEST(JsonSchemaTest, ReasonsAreShortAndWholeCharacters) {
  std::string long_text;
  for (int i = 0; i < 1000; ++i) long_text += "é";
  const std::string reason = Schema(R"({"type": "number"})")->Check("\"" + long_text + "\"").reason;
  EXPECT_THAT(reason, SizeIs(::testing::Le(600)));
  EXPECT_EQ(reason.substr(reason.size() - 2), "é");
}

TEST(JsonSchemaTest, LivesBesideTheTemplateEngine) {
  EXPECT_EQ(Schema(R"({"pattern": "^a+$"})")->Check("\"aa\"").verdict, Verdict::kValid);
  LocalJinja jinja({.max_steps = 1000, .max_output_bytes = 1000});
  EXPECT_TRUE(jinja.Compile("{{ 1 }}").ok());
}

}  // namespace
}  // namespace phalanx
