#include <signal.h>

#include <fstream>
#include <string>
#include <thread>

#include "base/options.h"
#include "client/exit_code.h"
#include "client/testing/commands_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace phalanx {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST_F(CommandsTest, TokenizeShowsPlacesIfAsked) {
  line_.text = "hi";
  line_.pieces = true;
  EXPECT_EQ(Run(Command::kTokenize), kExitOk);
  EXPECT_EQ(pipes_.Output(), "     104       0-1  \"h\"\n     105       1-2  \"i\"\n");
}

TEST_F(CommandsTest, ModelsPrintsATableOrJson) {
  v1::Model model;
  model.set_name("m1");
  server_.AddModel(model);
  EXPECT_EQ(Run(Command::kModels), kExitOk);
  line_.json = true;
  EXPECT_EQ(Run(Command::kModels), kExitOk);
  const std::string output = pipes_.Output();
  EXPECT_THAT(output, HasSubstr("MODEL"));
  EXPECT_THAT(output, HasSubstr(R"({"name":"m1",)"));
}

TEST_F(CommandsTest, TokenizeShowsIdsAndPieces) {
  line_.text = "ab";
  EXPECT_EQ(Run(Command::kTokenize), kExitOk);
  line_.ids_only = true;
  EXPECT_EQ(Run(Command::kTokenize), kExitOk);
  line_.ids_only = false;
  line_.json = true;
  line_.chat = true;
  line_.text = "c";
  EXPECT_EQ(Run(Command::kTokenize), kExitOk);
  const std::string output = pipes_.Output();
  EXPECT_THAT(output, HasSubstr("      97  \"a\"\n      98  \"b\"\n97 98\n"));
  EXPECT_THAT(output, HasSubstr(R"("text":"<user>c")"));
}

TEST_F(CommandsTest, TokenizeFailsWithTheServersStatus) {
  server_.FailWith(absl::NotFoundError("model"));
  line_.text = "ab";
  EXPECT_EQ(Run(Command::kTokenize), kExitInvalidRequest);
}

TEST_F(CommandsTest, PerplexityScoresTheTextInWindows) {
  v1::Model model;
  model.set_name("m1");
  model.set_context_tokens(64);
  server_.AddModel(model);
  const std::string path = ::testing::TempDir() + "/text";
  // The fake server makes a token of each byte, with the log-probability -byte.
  std::ofstream(path) << "\x01\x02\x03\x02\x01\x02\x03";
  line_.file = path;
  line_.window = 4;
  line_.stride = 2;
  line_.json = true;
  EXPECT_EQ(Run(Command::kPerplexity), kExitOk) << pipes_.Errors();
  const auto json = nlohmann::json::parse(pipes_.Output());
  EXPECT_EQ(json["model"], "m1");
  EXPECT_EQ(json["tokens"], 6);
  EXPECT_NEAR(json["nats_per_token"].get<double>(), 13.0 / 6, 1e-6);
  const std::vector<v1::ScoreRequest> requests = server_.score_requests();
  ASSERT_THAT(requests, SizeIs(3));
  EXPECT_THAT(requests[1].tokens().ids(), ::testing::ElementsAre(3, 2, 1, 2));
  EXPECT_THAT(requests[2].tokens().ids(), ::testing::ElementsAre(1, 2, 3));
}

TEST_F(CommandsTest, PerplexityNamesWhatIsWrong) {
  v1::Model model;
  model.set_context_tokens(64);
  server_.AddModel(model);
  line_.file = "/nowhere/text";
  EXPECT_EQ(Run(Command::kPerplexity), kExitInvalidRequest);
  line_.file = ::testing::TempDir() + "/short";
  std::ofstream(*line_.file) << "a";
  EXPECT_EQ(Run(Command::kPerplexity), kExitInvalidRequest);
  line_.window = 65;
  EXPECT_EQ(Run(Command::kPerplexity), kExitInvalidRequest);
  line_.window = 8;
  line_.stride = 9;
  EXPECT_EQ(Run(Command::kPerplexity), kExitInvalidRequest);
  const std::string errors = pipes_.Errors();
  EXPECT_THAT(errors, HasSubstr("/nowhere/text: cannot be read: No such file"));
  EXPECT_THAT(errors, HasSubstr("fewer than two tokens"));
  EXPECT_THAT(errors, HasSubstr("window: 65 is not in [2, 64]"));
  EXPECT_THAT(errors, HasSubstr("stride: 9 is not in [1, 8]"));
}

TEST_F(CommandsTest, ScoresThatBreakOffAreAnError) {
  v1::Model model;
  model.set_context_tokens(64);
  server_.AddModel(model);
  server_.SetScoresWhole(false);
  line_.file = "-";
  pipes_.Type("abc");
  pipes_.EndInput();
  EXPECT_EQ(Run(Command::kPerplexity), kExitFailure);
  EXPECT_THAT(pipes_.Errors(), HasSubstr("without a ScoreFinished"));
}

TEST_F(CommandsTest, HealthIsZeroOnlyIfServing) {
  EXPECT_EQ(Run(Command::kHealth), kExitUnavailable);
  line_.model = "m";
  EXPECT_EQ(Run(Command::kHealth), kExitInvalidRequest);
  server_.SetServing("m", true);
  line_.json = true;
  EXPECT_EQ(Run(Command::kHealth), kExitOk);
  EXPECT_EQ(pipes_.Output(),
            "NOT_SERVING\nSERVICE_UNKNOWN\n{\"service\":\"m\",\"status\":\"SERVING\"}\n");
}

TEST_F(CommandsTest, HealthWaitsUntilServingOrTheEndOfItsPatience) {
  line_.wait = absl::Milliseconds(50);
  EXPECT_EQ(Run(Command::kHealth), kExitUnavailable);
  EXPECT_THAT(pipes_.Errors(),
              HasSubstr("not SERVING within 50ms: the server is there, but not ready"));
  line_.wait = absl::Minutes(1);
  std::thread starter([this] { server_.SetServing("", true); });
  EXPECT_EQ(Run(Command::kHealth), kExitOk);
  starter.join();
}

TEST_F(CommandsTest, WithoutAServerTheCodeIsUnavailable) {
  line_.target = FakeServer().target();
  EXPECT_EQ(Run(Command::kModels), kExitUnavailable);
  EXPECT_EQ(Run(Command::kHealth), kExitUnavailable);
  line_.wait = absl::Milliseconds(50);
  EXPECT_EQ(Run(Command::kHealth), kExitUnavailable);
  EXPECT_THAT(pipes_.Errors(), AllOf(HasSubstr("hint: `phalanx health --wait"),
                                     HasSubstr("not SERVING within 50ms: failed to connect")));
}

v1::Model ModelOf(int vocab_size) {
  v1::Model model;
  model.set_name("m");
  model.set_vocab_size(vocab_size);
  return model;
}

TEST_F(CommandsTest, BenchPrintsATable) {
  server_.AddModel(ModelOf(3));
  for (int i = 0; i < 5; ++i) server_.AddAnswer(WholeAnswer({"a", "b"}));
  line_.load = {.requests = 4, .concurrency = 2, .prompt_tokens = {6, 6}, .output_tokens = {2, 2}};
  EXPECT_EQ(Run(Command::kBench), kExitOk);
  EXPECT_THAT(pipes_.Output(),
              AllOf(HasSubstr("m at "), HasSubstr("4 completed, 0 failed"), HasSubstr("p99")));
  // On no terminal there is no line that is written over.
  EXPECT_THAT(pipes_.Errors(), IsEmpty());
  const auto requests = server_.requests();
  ASSERT_THAT(requests, SizeIs(5));
  EXPECT_THAT(requests[0].tokens().ids(), SizeIs(6));
  for (const int32_t id : requests[0].tokens().ids()) EXPECT_LT(id, 3);
}

TEST_F(CommandsTest, BenchWritesJsonInPlaceOfTheTable) {
  server_.AddModel(ModelOf(3));
  for (int i = 0; i < 2; ++i) server_.AddAnswer(WholeAnswer({"a", "b"}));
  line_.load = {.requests = 1, .concurrency = 1};
  line_.json_path = "-";
  EXPECT_EQ(Run(Command::kBench), kExitOk);
  EXPECT_EQ(nlohmann::json::parse(pipes_.Output())["completed"], 1);
}

TEST_F(CommandsTest, BenchWithAFailureSaysHowMany) {
  server_.AddModel(ModelOf(3));
  server_.AddAnswer(WholeAnswer({"a"}));
  server_.AddAnswer({.events = {}, .status = absl::ResourceExhaustedError("full")});
  server_.AddAnswer(WholeAnswer({"a"}));
  line_.load = {.requests = 2, .concurrency = 1};
  EXPECT_EQ(Run(Command::kBench), kExitResourceExhausted);
  EXPECT_THAT(pipes_.Output(), HasSubstr("1 completed, 1 failed\n  1 RESOURCE_EXHAUSTED: full"));
  EXPECT_THAT(pipes_.Errors(), HasSubstr("1 of 2 requests failed; the first: full"));
}

TEST_F(CommandsTest, BenchMeasuresNothingIfItsFirstRequestFails) {
  server_.AddModel(ModelOf(3));
  server_.AddAnswer({.events = {}, .status = absl::InvalidArgumentError("tokens: too long")});
  line_.load = {.requests = 2, .concurrency = 1};
  EXPECT_EQ(Run(Command::kBench), kExitInvalidRequest);
  EXPECT_THAT(server_.requests(), SizeIs(1));
}

TEST_F(CommandsTest, InterruptedBenchPrintsWhatThereIs) {
  server_.AddModel(ModelOf(3));
  for (int i = 0; i < 2; ++i) server_.AddAnswer(WholeAnswer({"a"}));
  AddEndlessAnswer("b");
  line_.load = {.requests = 9, .concurrency = 1};
  std::thread user([&] {
    // The warm-up, one that completes, and the one that does not.
    while (server_.requests().size() < 3) std::this_thread::yield();
    pipes_.interrupt().Raise(SIGINT);
  });
  EXPECT_EQ(Run(Command::kBench), kExitInterrupted);
  user.join();
  EXPECT_THAT(pipes_.Output(), HasSubstr("1 completed, 0 failed, interrupted with 1 running"));
}

}  // namespace
}  // namespace phalanx
