#include "base/options.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

class OptionsTest : public testing::Test {
 protected:
  OptionsTest() {
    AddStandardOptions(app_);
    app_.add_option("--number", number_, "A number")->check(CLI::Range(1, 10));
    AddDurationOption(app_, "--patience", &patience_, "How long");
  }

  // What main would return; nullopt to go on. Output goes to out_ and err_.
  std::optional<int> Parse(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "program");
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    const std::optional<int> code =
        ParseCommandLine(app_, static_cast<int>(argv.size()), argv.data());
    out_ = testing::internal::GetCapturedStdout();
    err_ = testing::internal::GetCapturedStderr();
    return code;
  }

  CLI::App app_{"Does something.", "program"};
  int number_ = 3;
  absl::Duration patience_ = absl::Seconds(30);
  std::string out_;
  std::string err_;
};

TEST_F(OptionsTest, GoesOnWithTheValues) {
  EXPECT_EQ(Parse({"--number=7", "--patience", "1m30s"}), std::nullopt);
  EXPECT_EQ(number_, 7);
  EXPECT_EQ(patience_, absl::Seconds(90));
}

TEST_F(OptionsTest, KeepsDefaults) {
  EXPECT_EQ(Parse({}), std::nullopt);
  EXPECT_EQ(number_, 3);
  EXPECT_EQ(patience_, absl::Seconds(30));
}

TEST_F(OptionsTest, HelpShowsDefaultsAndEndsWell) {
  EXPECT_EQ(Parse({"--help"}), kExitOk);
  EXPECT_NE(out_.find("--number"), std::string::npos) << out_;
  EXPECT_NE(out_.find("=3"), std::string::npos) << out_;
  EXPECT_NE(out_.find("=30s"), std::string::npos) << out_;
  EXPECT_EQ(err_, "");
}

TEST_F(OptionsTest, VersionEndsWell) {
  EXPECT_EQ(Parse({"--version"}), kExitOk);
  EXPECT_EQ(out_, VersionString() + "\n");
}

TEST_F(OptionsTest, BadUsageNamesTheOption) {
  const std::vector<std::vector<std::string>> bad = {
      {"--number=11"}, {"--number=x"}, {"--patience=soon"}, {"--patience=-1s"}, {"--unknown"}};
  for (const std::vector<std::string>& arguments : bad) {
    EXPECT_EQ(Parse(arguments), kExitUsage) << arguments[0];
    const std::string option = arguments[0].substr(0, arguments[0].find('='));
    EXPECT_NE(err_.find(option), std::string::npos) << err_;
    EXPECT_NE(err_.find("--help"), std::string::npos) << err_;
    EXPECT_EQ(out_, "");
  }
}

TEST_F(OptionsTest, AMisspeltOptionIsNamedBeforeTheOneThatIsMissing) {
  app_.add_option("--model", "A model")->required();
  EXPECT_EQ(Parse({"--modle", "m"}), kExitUsage);
  EXPECT_EQ(err_, "program: unknown argument: --modle\nTry --help.\n");
  EXPECT_EQ(Parse({}), kExitUsage);
  EXPECT_EQ(err_, "program: --model is required\nTry --help.\n");
}

TEST_F(OptionsTest, AMisspeltSubcommandIsNamed) {
  app_.add_subcommand("generate", "Answers");
  app_.require_subcommand(1);
  EXPECT_EQ(Parse({"genrate", "x"}), kExitUsage);
  EXPECT_EQ(err_, "program: unknown argument: genrate\nTry --help.\n");
}

}  // namespace
}  // namespace phalanx
