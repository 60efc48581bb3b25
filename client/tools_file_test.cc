#include "client/tools_file.h"

#include <string>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

TEST(ToolsFileTest, TakesOpenAisForm) {
  v1::Chat chat;
  ASSERT_EQ(AddTools("f", R"([
      {"type": "function", "function": {"name": "a", "description": "d é",
       "parameters": {"z": 1, "a": {"x": [1.5, null]}}}},
      {"function": {"name": "b"}}])",
                     &chat),
            absl::OkStatus());
  ASSERT_EQ(chat.tools_size(), 2);
  EXPECT_EQ(chat.tools(0).name(), "a");
  EXPECT_EQ(chat.tools(0).description(), "d é");
  EXPECT_EQ(chat.tools(0).parameters(), R"({"z":1,"a":{"x":[1.5,null]}})");
  EXPECT_EQ(chat.tools(1).name(), "b");
  EXPECT_FALSE(chat.tools(1).has_description());
  EXPECT_FALSE(chat.tools(1).has_parameters());
}

TEST(ToolsFileTest, NamesWhatIsWrong) {
  const struct {
    std::string json;
    std::string message;
  } cases[] = {
      {"", "f: must be a JSON array of tools"},
      {"{}", "f: must be a JSON array of tools"},
      {std::string("[]\0, evil", 9), "f: byte 2: a NUL byte"},
      {"\xef\xbb\xbf[]", "f: byte 0: a byte order mark"},
      {"[1]", "f[0]: must be an object"},
      {"[{}]", "f[0].function: must be there"},
      {R"([{"type": "retrieval"}])", R"(f[0].type: only "type": "function")"},
      {R"([{"function": {"name": "a"}, "x": 1}])", R"(f[0].x: only "type": "function")"},
      {R"([{"function": {"name": "a"}}, {"function": 3}])", "f[1].function: must be an object"},
      {R"([{"function": {"description": "a"}}])", "f[0].function.name: must be there"},
      {R"([{"function": {"name": 1}}])", "f[0].function.name: must be a string"},
      {R"([{"function": {"name": "a", "description": null}}])",
       "f[0].function.description: must be a string"},
      {R"([{"function": {"name": "a", "parameters": "{}"}}])",
       "f[0].function.parameters: must be an object"},
      {R"([{"function": {"name": "a", "strict": true}}])",
       "f[0].function.strict: is none of name, description, parameters"},
  };
  for (const auto& bad : cases) {
    v1::Chat chat;
    const absl::Status status = AddTools("f", bad.json, &chat);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(std::string(status.message()).rfind(bad.message, 0), 0u) << status;
  }
}

}  // namespace
}  // namespace phalanx
