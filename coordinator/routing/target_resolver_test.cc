#include "coordinator/routing/target_resolver.h"

#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(ParseWorkerTargetTest, AcceptsNamesAndNumericAddresses) {
  EXPECT_EQ(ParseWorkerTarget("workers.default.svc:50061")->host, "workers.default.svc");
  EXPECT_EQ(ParseWorkerTarget("127.0.0.1:1")->port, 1);
  EXPECT_EQ(ParseWorkerTarget("[::1]:65535")->host, "::1");
}

TEST(ParseWorkerTargetTest, RefusesEverythingElse) {
  for (const std::string text : {"", "host", "host:", ":1", "host:0", "host:65536", "host:-1",
                                 "host:http", "::1:50061", "[::1:50061", "[]:1"}) {
    SCOPED_TRACE(text);
    EXPECT_EQ(ParseWorkerTarget(text).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(ResolveWorkerTargetTest, GivesNumericAddresses) {
  EXPECT_THAT(*ResolveWorkerTarget({"127.0.0.1", 7}), ElementsAre("127.0.0.1:7"));
  EXPECT_THAT(*ResolveWorkerTarget({"::1", 7}), ElementsAre("[::1]:7"));
  EXPECT_THAT(*ResolveWorkerTarget({"localhost", 7}), ElementsAre("127.0.0.1:7"));
}

TEST(ResolveWorkerTargetTest, SaysWhichNameDoesNotResolve) {
  const absl::Status status = ResolveWorkerTarget({"no such name", 7}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("no such name"));
}

TEST(TargetResolverTest, MergesTargetsAndKeepsTheLastAnswerOfOneThatFails) {
  std::map<std::string, absl::StatusOr<std::vector<std::string>>> answers;
  TargetResolver resolver({{"a", 1}, {"b", 2}},
                          [&](const WorkerTarget& target) { return answers.at(target.host); });
  answers["a"] = absl::UnavailableError("a is gone");
  answers["b"] = absl::UnavailableError("b is gone");
  EXPECT_THAT(resolver.Resolve(), IsEmpty());

  answers["a"] = std::vector<std::string>{"2:1", "1:1"};
  answers["b"] = std::vector<std::string>{"2:1", "3:1"};
  EXPECT_THAT(resolver.Resolve(), ElementsAre("1:1", "2:1", "3:1"));

  answers["a"] = absl::UnavailableError("a is gone");
  answers["b"] = std::vector<std::string>{"4:1"};
  EXPECT_THAT(resolver.Resolve(), ElementsAre("1:1", "2:1", "4:1"));

  answers["a"] = std::vector<std::string>{};
  EXPECT_THAT(resolver.Resolve(), ElementsAre("4:1"));
}

}  // namespace
}  // namespace phalanx
