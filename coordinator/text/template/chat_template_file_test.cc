#include "coordinator/text/template/chat_template_file.h"

#include <fstream>
#include <string>

#include "coordinator/text/jinja/local_jinja.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class ChatTemplateFileTest : public testing::Test {
 protected:
  std::string ErrorFor(const std::string& source) {
    std::ofstream(path_, std::ios::binary) << source;
    return std::string(ReadChatTemplateFile(jinja_, path_).status().message());
  }

  LocalJinja jinja_;
  const std::string path_ = testing::TempDir() + "/template.jinja";
};

TEST_F(ChatTemplateFileTest, ReadsTheSourceAsItIs) {
  const std::string source = "{% for m in messages %}é\r\n{% endfor %}\n";
  EXPECT_EQ(ErrorFor(source), "");
  EXPECT_EQ(*ReadChatTemplateFile(jinja_, path_), source);
}

TEST_F(ChatTemplateFileTest, NamesTheFileAndWhatIsWrongWithIt) {
  EXPECT_THAT(std::string(ReadChatTemplateFile(jinja_, "/no/such.jinja").status().message()),
              "/no/such.jinja: cannot be read: No such file or directory");
  EXPECT_THAT(std::string(ReadChatTemplateFile(jinja_, testing::TempDir()).status().message()),
              HasSubstr("cannot be read"));
  EXPECT_EQ(ErrorFor(""), path_ + ": is empty");
  EXPECT_EQ(ErrorFor(std::string((1 << 20) + 1, 'x')), path_ + ": is larger than 1048576 bytes");
  EXPECT_THAT(ErrorFor("ab\xff"),
              AllOf(HasSubstr(path_), HasSubstr("utf-8"), HasSubstr("index 2")));
  EXPECT_THAT(ErrorFor("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"),
              HasSubstr(path_ + ": a Git LFS pointer"));
  EXPECT_THAT(ErrorFor("a\nb\n{% if %}\n"), HasSubstr(path_ + ": line 3: syntax error"));
  EXPECT_THAT(ErrorFor("a\r\n\r\n{{ x | nothing }}{% if %}"), HasSubstr("line 3: "));
  EXPECT_THAT(ErrorFor("a\r\n\r\n{{ x | nothing }}"),
              HasSubstr(path_ + ": line 3: there is no filter \"nothing\""));
}

}  // namespace
}  // namespace phalanx
