#include "client/command_line.h"

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "base/options.h"
#include "client/exit_code.h"
#include "client/format.h"
#include "client/request_template.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace phalanx {
namespace {

using ::testing::HasSubstr;
using ::testing::Optional;

std::optional<int> Parse(std::vector<std::string> arguments, CommandLine* line) {
  arguments.insert(arguments.begin(), "phalanx");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  return ParseClientCommandLine(static_cast<int>(argv.size()), argv.data(), line);
}

CommandLine Parsed(std::vector<std::string> arguments) {
  CommandLine line;
  EXPECT_EQ(Parse(std::move(arguments), &line), std::nullopt);
  return line;
}

int ExitCode(std::vector<std::string> arguments) {
  CommandLine line;
  return Parse(std::move(arguments), &line).value_or(-1);
}

TEST(CommandLineTest, WhatIsNotGivenIsUnset) {
  const CommandLine line = Parsed({"generate", "Hi"});
  EXPECT_EQ(line.command, Command::kGenerate);
  EXPECT_EQ(line.target, "127.0.0.1:50051");
  EXPECT_THAT(line.text, Optional(std::string("Hi")));
  EXPECT_EQ(RequestTemplate(line).ShortDebugString(), "sampling { }");
  EXPECT_EQ(NewConversation(line).messages_size(), 0);
}

TEST(CommandLineTest, ToolUseNeedsTools) {
  const v1::GenerateRequest request = RequestTemplate(
      Parsed({"generate", "--tools", "t", "--parse_tool_calls", "--tool_choice", "required"}));
  EXPECT_TRUE(request.parse_tool_calls());
  EXPECT_EQ(request.tool_choice().mode(), v1::ToolChoice::MODE_REQUIRED);
  EXPECT_EQ(
      RequestTemplate(Parsed({"chat", "--tools", "t", "--tool_choice", "f"})).tool_choice().name(),
      "f");
  EXPECT_EQ(ExitCode({"generate", "--parse_tool_calls"}), kExitUsage);
  EXPECT_EQ(ExitCode({"chat", "--tool_choice", "none"}), kExitUsage);
}

TEST(CommandLineTest, TopTalksToTheWorkerWhateverTheTargetIs) {
  setenv("PHALANX_TARGET", "elsewhere:1", 1);
  const CommandLine line = Parsed({"top", "--interval", "250ms", "--once"});
  unsetenv("PHALANX_TARGET");
  EXPECT_EQ(line.target, "127.0.0.1:50061");
  EXPECT_EQ(line.interval, absl::Milliseconds(250));
  EXPECT_TRUE(line.once);
  EXPECT_EQ(Parsed({"top", "--worker", "h:7"}).target, "h:7");
  EXPECT_EQ(ExitCode({"top", "--worker", "h"}), kExitUsage);
}

TEST(CommandLineTest, ZeroIsAValue) {
  const CommandLine line = Parsed({"generate", "Hi", "--temperature", "0", "--top_k", "0", "--seed",
                                   "0", "--max_new_tokens", "0"});
  const v1::GenerateRequest request = RequestTemplate(line);
  EXPECT_TRUE(request.sampling().has_temperature());
  EXPECT_TRUE(request.sampling().has_top_k());
  EXPECT_FALSE(request.sampling().has_top_p());
  EXPECT_TRUE(request.sampling().has_seed());
  EXPECT_TRUE(request.has_max_new_tokens());
}

TEST(CommandLineTest, PassesOutOfRangeValuesToTheServer) {
  const CommandLine line = Parsed({"generate", "Hi", "--max_new_tokens", "-1", "--top_p=-0.5",
                                   "--seed", "18446744073709551615", "--model", "m"});
  const v1::GenerateRequest request = RequestTemplate(line);
  EXPECT_EQ(request.max_new_tokens(), -1);
  EXPECT_EQ(request.sampling().top_p(), -0.5f);
  EXPECT_EQ(request.sampling().seed(), 18446744073709551615u);
  EXPECT_EQ(request.model(), "m");
}

TEST(CommandLineTest, PriorityAndTenantAreAskedForAsGiven) {
  const CommandLine line = Parsed({"generate", "--priority", "-11", "--tenant", "batch", "Hi"});
  EXPECT_EQ(RequestTemplate(line).ShortDebugString(),
            "sampling { } priority: -11 tenant: \"batch\"");
  EXPECT_EQ(RequestTemplate(Parsed({"generate", "Hi"})).ShortDebugString(), "sampling { }");
}

TEST(CommandLineTest, OneConstraintCanBeGiven) {
  EXPECT_THAT(Parsed({"generate", "--json_schema", "{}", "Hi"}).json_schema,
              Optional(std::string("{}")));
  EXPECT_TRUE(Parsed({"generate", "--json_object", "Hi"}).json_object);
  EXPECT_THAT(Parsed({"generate", "--regex", "a+", "Hi"}).regex, Optional(std::string("a+")));
  EXPECT_EQ(Parsed({"generate", "--choices", "yes,no", "Hi"}).choices,
            (std::vector<std::string>{"yes", "no"}));
  EXPECT_THAT(Parsed({"generate", "--grammar", "f", "Hi"}).grammar, Optional(std::string("f")));
  EXPECT_EQ(ExitCode({"generate", "--regex", "a", "--choices", "b", "Hi"}), kExitUsage);
}

TEST(CommandLineTest, StopStringsAndReasoningAreAskedForAsGiven) {
  const CommandLine line = Parsed({"generate", "--stop", "a", "--stop", "\n", "--reasoning",
                                   "inline", "--allow_special", "--cache_salt", "s", "Hi"});
  EXPECT_EQ(RequestTemplate(line).ShortDebugString(),
            "sampling { } allow_special: true stop: \"a\" stop: \"\\n\" reasoning { split: false } "
            "cache_salt: \"s\"");
  EXPECT_THAT(line.text, Optional(std::string("Hi")));
  EXPECT_EQ(RequestTemplate(Parsed({"generate", "--max_reasoning_tokens", "0"})).ShortDebugString(),
            "sampling { } reasoning { max_tokens: 0 }");
  EXPECT_EQ(Parsed({"generate", "--reasoning", "hide"}).reasoning, ReasoningMode::kHide);
  EXPECT_EQ(ExitCode({"generate", "--reasoning", "loudly"}), kExitUsage);
}

TEST(CommandLineTest, PromptMayBeEmptyADashOrAfterDashes) {
  EXPECT_THAT(Parsed({"generate", ""}).text, Optional(std::string("")));
  EXPECT_THAT(Parsed({"generate", "-"}).text, Optional(std::string("-")));
  EXPECT_THAT(Parsed({"generate", "--", "--help"}).text, Optional(std::string("--help")));
  EXPECT_EQ(Parsed({"generate"}).text, std::nullopt);
}

TEST(CommandLineTest, SystemMessageOpensTheConversation) {
  const CommandLine line = Parsed({"chat", "--system", "Be brief."});
  EXPECT_EQ(line.command, Command::kChat);
  EXPECT_EQ(NewConversation(line).messages(0).role(), "system");
  EXPECT_EQ(NewConversation(line).messages(0).content(), "Be brief.");
}

TEST(CommandLineTest, TargetComesFromTheEnvironmentUnlessGiven) {
  setenv("PHALANX_TARGET", "a:1", 1);
  EXPECT_EQ(Parsed({"models"}).target, "a:1");
  EXPECT_EQ(Parsed({"models", "--target", "b:2"}).target, "b:2");
  unsetenv("PHALANX_TARGET");
}

TEST(CommandLineTest, ATargetIsHostAndPort) {
  EXPECT_EQ(Parsed({"models", "--target", "[::1]:2"}).target, "[::1]:2");
  for (const char* target : {"", "a", "a:0", "a:99999", "::1:2", "unix:/a", "dns:///a:1"}) {
    EXPECT_EQ(ExitCode({"models", "--target", target}), kExitUsage) << target;
    setenv("PHALANX_TARGET", target, 1);
    EXPECT_EQ(ExitCode({"models"}), kExitUsage) << target;
    unsetenv("PHALANX_TARGET");
  }
}

TEST(CommandLineTest, HealthHasItsOwnTimeout) {
  EXPECT_EQ(Parsed({"health"}).health_timeout, absl::Seconds(5));
  const CommandLine line = Parsed({"health", "--wait", "1m", "--timeout", "1s"});
  EXPECT_EQ(line.wait, absl::Minutes(1));
  EXPECT_EQ(line.health_timeout, absl::Seconds(1));
}

TEST(CommandLineTest, PerplexityNeedsAFile) {
  const CommandLine line = Parsed({"perplexity", "--file", "a.txt", "--window", "64"});
  EXPECT_EQ(line.command, Command::kPerplexity);
  EXPECT_THAT(line.file, Optional(std::string("a.txt")));
  EXPECT_EQ(line.window, 64);
  EXPECT_EQ(line.stride, 0);
  EXPECT_EQ(ExitCode({"perplexity"}), kExitUsage);
  EXPECT_EQ(ExitCode({"perplexity", "--file", "a", "--stride", "0"}), kExitUsage);
}

TEST(CommandLineTest, InspectTakesAPathAndASize) {
  const CommandLine line = Parsed({"inspect", "m.gguf", "--tp", "2", "--memory", "1536MiB"});
  EXPECT_EQ(line.command, Command::kInspect);
  EXPECT_THAT(line.path, Optional(std::string("m.gguf")));
  EXPECT_EQ(line.tp, 2);
  EXPECT_THAT(line.memory_bytes, Optional(uint64_t{3} << 29));
  EXPECT_EQ(Parsed({"inspect", "m.gguf"}).memory_bytes, std::nullopt);
  EXPECT_EQ(line.device, "cpu");
  const CommandLine gpu =
      Parsed({"inspect", "m.gguf", "--device", "cuda", "--gpu_memory", "141GB"});
  EXPECT_EQ(gpu.device, "cuda");
  EXPECT_THAT(gpu.gpu_bytes, Optional(uint64_t{141'000'000'000}));
  EXPECT_EQ(ExitCode({"inspect", "m", "--device", "tpu"}), kExitUsage);
  EXPECT_EQ(ExitCode({"inspect"}), kExitUsage);
  EXPECT_EQ(ExitCode({"inspect", "m", "--tp", "0"}), kExitUsage);
  EXPECT_EQ(ExitCode({"inspect", "m", "--memory", "lots"}), kExitUsage);
  EXPECT_EQ(ExitCode({"inspect", "m", "--memory", "1.5GiB"}), kExitUsage);
  EXPECT_EQ(ExitCode({"inspect", "m", "--memory=-1GiB"}), kExitUsage);
}

TEST(CommandLineTest, BadCommandLinesAreUsageErrors) {
  EXPECT_EQ(ExitCode({}), kExitUsage);
  EXPECT_EQ(ExitCode({"nonsense"}), kExitUsage);
  EXPECT_EQ(ExitCode({"generate", "a", "b"}), kExitUsage);
  EXPECT_EQ(ExitCode({"generate", "a", "--temperature", "warm"}), kExitUsage);
  EXPECT_EQ(ExitCode({"generate", "a", "--raw", "--system", "s"}), kExitUsage);
  EXPECT_EQ(ExitCode({"generate", "a", "--raw", "--tools", "f"}), kExitUsage);
  EXPECT_EQ(ExitCode({"tokenize", "a", "--tools", "f"}), kExitUsage);
  EXPECT_EQ(ExitCode({"health", "--wait", "soon"}), kExitUsage);
  EXPECT_EQ(ExitCode({"health", "--raw"}), kExitUsage);
  EXPECT_EQ(ExitCode({"generate", "a", "--request_id", "with space"}), kExitUsage);
  EXPECT_EQ(ExitCode({"generate", "a", "--request_id", ""}), kExitUsage);
}

TEST(CommandLineTest, FlagsOfThePromptReachTheRequest) {
  const CommandLine line =
      Parsed({"generate", "Hi", "--n", "3", "--request_id", "r/1", "--continue", "He",
              "--template_args", "{\"a\": 1}", "--add_bos", "false"});
  EXPECT_EQ(line.request_id, "r/1");
  const v1::GenerateRequest request = RequestTemplate(line);
  EXPECT_EQ(request.n(), 3);
  EXPECT_TRUE(request.has_add_bos());
  EXPECT_FALSE(request.add_bos());
  v1::Chat chat = NewConversation(line);
  AddQuestion(line, "Hi", &chat);
  EXPECT_EQ(chat.template_arguments(), "{\"a\": 1}");
  ASSERT_EQ(chat.messages_size(), 2);
  EXPECT_EQ(chat.messages(1).role(), "assistant");
  EXPECT_EQ(chat.messages(1).content(), "He");
  EXPECT_TRUE(chat.continue_last_message());
  EXPECT_FALSE(RequestTemplate(Parsed({"generate", "Hi"})).has_n());
  EXPECT_EQ(ExitCode({"generate", "a", "--raw", "--continue", "b"}), kExitUsage);
  EXPECT_EQ(ExitCode({"tokenize", "a", "--continue", "b"}), kExitUsage);
  EXPECT_EQ(ExitCode({"tokenize", "a", "--pieces", "--ids"}), kExitUsage);
  EXPECT_EQ(ExitCode({"generate", "a", "--add_bos", "maybe"}), kExitUsage);
}

TEST(CommandLineTest, HelpTellsExitCodesAndJson) {
  testing::internal::CaptureStdout();
  EXPECT_EQ(ExitCode({"generate", "--help"}), kExitOk);
  const std::string help = testing::internal::GetCapturedStdout();
  EXPECT_THAT(help, HasSubstr("130  interrupted"));
  EXPECT_THAT(help, HasSubstr("delta     sequence, choice, token_ids, text"));
}

TEST(ExitCodeTest, FollowsTheStatus) {
  EXPECT_EQ(ExitCodeFor(absl::OkStatus()), kExitOk);
  EXPECT_EQ(ExitCodeFor(absl::UnavailableError("")), kExitUnavailable);
  EXPECT_EQ(ExitCodeFor(absl::InvalidArgumentError("")), kExitInvalidRequest);
  EXPECT_EQ(ExitCodeFor(absl::NotFoundError("")), kExitInvalidRequest);
  EXPECT_EQ(ExitCodeFor(absl::DeadlineExceededError("")), kExitDeadline);
  EXPECT_EQ(ExitCodeFor(absl::ResourceExhaustedError("")), kExitResourceExhausted);
  EXPECT_EQ(ExitCodeFor(absl::InternalError("")), kExitFailure);
}

TEST(ExitCodeTest, ErrorsNameCodeAndMessageAndHint) {
  EXPECT_EQ(DescribeError(absl::InternalError("broken"), "h:1"), "phalanx: INTERNAL: broken\n");
  EXPECT_EQ(DescribeError(absl::NotFoundError("no m"), "h:1"),
            "phalanx: NOT_FOUND: no m\nhint: `phalanx models --target h:1` lists the names\n");
}

TEST(ExitCodeTest, TellsWhatTheServerToldOfTheError) {
  google::rpc::BadRequest bad;
  bad.add_field_violations()->set_field("stop[3]");
  google::rpc::RequestInfo request;
  request.set_request_id("17");
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(2);
  absl::Status status = absl::InvalidArgumentError("stop[3]: empty");
  status.SetPayload("type.googleapis.com/google.rpc.BadRequest",
                    absl::Cord(bad.SerializeAsString()));
  status.SetPayload("type.googleapis.com/google.rpc.RequestInfo",
                    absl::Cord(request.SerializeAsString()));
  EXPECT_EQ(DescribeError(status, "h:1"),
            "phalanx: INVALID_ARGUMENT: stop[3]: empty\nfield: stop[3]\nrequest: 17\n");
  absl::Status busy = absl::ResourceExhaustedError("busy");
  busy.SetPayload("type.googleapis.com/google.rpc.RetryInfo",
                  absl::Cord(retry.SerializeAsString()));
  EXPECT_EQ(DescribeError(busy, "h:1"),
            "phalanx: RESOURCE_EXHAUSTED: busy\nhint: the server asks to try again after 2.0 s\n");
  const auto json = nlohmann::json::parse(ErrorJson(status));
  EXPECT_EQ(json["field"], "stop[3]");
  EXPECT_EQ(json["request_id"], "17");
  EXPECT_FALSE(json.contains("reason"));
  EXPECT_EQ(nlohmann::json::parse(ErrorJson(busy))["retry_after_seconds"], 2.0);
}

TEST(CommandLineTest, BenchReadsLengthsAndLoad) {
  const CommandLine line = Parsed({"bench",    "--requests",      "9",      "--concurrency",
                                   "3",        "--prompt_tokens", "64-256", "--output_tokens",
                                   "7",        "--rate",          "2.5",    "--warmup",
                                   "0",        "--seed",          "5",      "--json",
                                   "out.json", "--temperature",   "0",      "--stream_interval",
                                   "8"});
  EXPECT_EQ(line.command, Command::kBench);
  EXPECT_EQ(line.load.requests, 9);
  EXPECT_EQ(line.load.concurrency, 3);
  EXPECT_EQ(line.load.prompt_tokens, (LengthRange{64, 256}));
  EXPECT_EQ(line.load.output_tokens, (LengthRange{7, 7}));
  EXPECT_EQ(line.load.rate, 2.5);
  EXPECT_EQ(line.load.warmup, 0);
  EXPECT_EQ(line.load.seed, 5u);
  EXPECT_EQ(line.json_path, "out.json");
  EXPECT_TRUE(RequestTemplate(line).sampling().has_temperature());
  EXPECT_EQ(RequestTemplate(line).stream_interval(), 8);
}

TEST(CommandLineTest, BenchRefusesLoadThatMakesNoSense) {
  EXPECT_EQ(ExitCode({"bench", "--prompt_tokens", "0"}), kExitUsage);
  EXPECT_EQ(ExitCode({"bench", "--output_tokens", "9-3"}), kExitUsage);
  EXPECT_EQ(ExitCode({"bench", "--requests", "0"}), kExitUsage);
  EXPECT_EQ(ExitCode({"bench", "--concurrency", "0"}), kExitUsage);
  EXPECT_EQ(ExitCode({"bench", "--rate", "-1"}), kExitUsage);
}

}  // namespace
}  // namespace phalanx
