// Compares chats that continue their last message, and chats with template arguments, byte for byte
// with those of transformers.
#include <map>
#include <memory>
#include <string>

#include "coordinator/text/testing/chat_golden.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using Json = nlohmann::ordered_json;

TEST(ChatPrefillGoldenTest, EveryCaseIsRenderedAsByTransformers) {
  const Json golden = ReadPrefillGolden();
  const Json templates = ReadChatGolden()["templates"];
  ASSERT_EQ(golden["templates"].size(), templates.size());
  std::map<std::string, int> counts;
  for (size_t t = 0; t < templates.size(); ++t) {
    const Json& entry = golden["templates"][t];
    ASSERT_EQ(entry["name"], templates[t]["name"]);
    SCOPED_TRACE(entry["name"].get<std::string>());
    const std::unique_ptr<ChatTemplate> chat_template = GoldenTemplate(templates[t]);
    ASSERT_EQ(entry["results"].size(), golden["cases"].size());
    for (size_t i = 0; i < golden["cases"].size(); ++i) {
      SCOPED_TRACE(golden["cases"][i].dump());
      const Json& expected = entry["results"][i];
      if (expected.contains("unused")) continue;
      const absl::StatusOr<std::string> text =
          chat_template->Render(GoldenConversation(golden["cases"][i]));
      if (expected.contains("rendered")) {
        ++counts["rendered"];
        ASSERT_TRUE(text.ok()) << text.status();
        EXPECT_EQ(*text, expected["rendered"].get<std::string>());
        continue;
      }
      ++counts["refused"];
      ASSERT_TRUE(expected.contains("refused"));
      EXPECT_TRUE(absl::IsInvalidArgument(text.status())) << *text;
      EXPECT_EQ(text.status().message().find(expected["refused"].get<std::string>()), 0u)
          << text.status();
    }
  }
  EXPECT_GT(counts["rendered"], 200);
  EXPECT_GT(counts["refused"], 10);
}

}  // namespace
}  // namespace phalanx
