#include "worker/constraint/constraint_compiler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <future>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;

// A compiler for the 256 bytes that counts how often it was asked to check.
class ConstraintCompilerTest : public ::testing::Test {
 protected:
  ConstraintCompiler Make(const ConstraintCompiler::Options& options = {}) {
    return ConstraintCompiler([] { return ConstraintVocabulary::OfBytes({}); }, options,
                              [this](const ConstraintSource& source, const ConstraintLimits&,
                                     absl::Span<const std::string>) {
                                ++checks_;
                                if (before_check_) before_check_();
                                return source.text == "refused"
                                           ? absl::InvalidArgumentError("is refused")
                                       : source.text == "machine"
                                           ? absl::UnavailableError("no process")
                                           : absl::OkStatus();
                              });
  }

  static ConstraintCompiler::Result Get(ConstraintCompiler& compiler, const std::string& regex) {
    std::promise<ConstraintCompiler::Result> result;
    EXPECT_TRUE(compiler
                    .Compile({ConstraintKind::kRegex, regex},
                             [&](ConstraintCompiler::Result r) { result.set_value(std::move(r)); })
                    .ok());
    return result.get_future().get();
  }

  std::atomic<int> checks_ = 0;
  std::function<void()> before_check_;
};

TEST_F(ConstraintCompilerTest, CompilesOnce) {
  ConstraintCompiler compiler = Make();
  ConstraintCompiler::Result first = Get(compiler, "ab");
  ASSERT_TRUE(first.ok()) << first.status();
  ASSERT_TRUE((*first)->Accept('a').ok());
  ConstraintCompiler::Result second = Get(compiler, "ab");
  // It begins at the beginning, wherever the first one is.
  ASSERT_TRUE((*second)->Accept('a').ok());
  EXPECT_EQ(checks_, 1);
  EXPECT_EQ(compiler.stats().hits, 1);
  EXPECT_EQ(compiler.stats().compiled, 1);
  EXPECT_EQ(compiler.stats().entries, 1u);
}

TEST_F(ConstraintCompilerTest, GivesTheVocabulary) {
  using Result = ConstraintCompiler::VocabularyResult;
  ConstraintCompiler compiler = Make();
  const auto get = [&] {
    std::promise<Result> result;
    EXPECT_TRUE(compiler.GetVocabulary([&](Result r) { result.set_value(std::move(r)); }).ok());
    return result.get_future().get();
  };
  const Result first = get();
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ((*first)->TextOf('a'), "a");
  // There is one, for constraints and for everybody else.
  EXPECT_EQ(*get(), *first);
  EXPECT_EQ((*Get(compiler, "ab"))->shared_vocabulary(), *first);
}

TEST_F(ConstraintCompilerTest, TellsWhyThereIsNoVocabulary) {
  using Result = ConstraintCompiler::VocabularyResult;
  ConstraintCompiler compiler(
      [] { return absl::FailedPreconditionError("no end"); }, {},
      [](const auto&, const auto&, const auto&) { return absl::OkStatus(); });
  std::promise<Result> result;
  EXPECT_TRUE(compiler.GetVocabulary([&](Result r) { result.set_value(std::move(r)); }).ok());
  EXPECT_EQ(result.get_future().get().status(), absl::InvalidArgumentError("no end"));
}

TEST_F(ConstraintCompilerTest, TheKindIsPartOfWhatIsKept) {
  ConstraintCompiler compiler = Make();
  EXPECT_TRUE(Get(compiler, "true").ok());
  std::promise<ConstraintCompiler::Result> result;
  EXPECT_TRUE(compiler
                  .Compile({ConstraintKind::kJsonSchema, "true"},
                           [&](ConstraintCompiler::Result r) { result.set_value(std::move(r)); })
                  .ok());
  EXPECT_TRUE(result.get_future().get().ok());
  EXPECT_EQ(checks_, 2);
}

TEST_F(ConstraintCompilerTest, RefusalsAreKeptButNotFailuresOfTheMachine) {
  ConstraintCompiler compiler = Make();
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(std::string(Get(compiler, "refused").status().message()), HasSubstr("is refused"));
  }
  EXPECT_EQ(checks_, 1);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(Get(compiler, "machine").status().code(), absl::StatusCode::kUnavailable);
  }
  EXPECT_EQ(checks_, 3);
}

TEST_F(ConstraintCompilerTest, AModelWithoutAVocabularyIsTold) {
  ConstraintCompiler compiler(
      [] { return absl::FailedPreconditionError("has no end"); }, {},
      [](const auto&, const auto&, const auto&) { return absl::OkStatus(); });
  EXPECT_EQ(Get(compiler, "a").status(), absl::InvalidArgumentError("has no end"));
}

TEST_F(ConstraintCompilerTest, TheOldestLeave) {
  ConstraintCompiler compiler = Make({.max_entries = 2});
  EXPECT_TRUE(Get(compiler, "a").ok());
  EXPECT_TRUE(Get(compiler, "b").ok());
  EXPECT_TRUE(Get(compiler, "a").ok());
  EXPECT_TRUE(Get(compiler, "c").ok());
  EXPECT_EQ(compiler.stats().entries, 2u);
  EXPECT_TRUE(Get(compiler, "a").ok());
  EXPECT_EQ(checks_, 3);
  EXPECT_TRUE(Get(compiler, "b").ok());
  EXPECT_EQ(checks_, 4);
}

TEST_F(ConstraintCompilerTest, BytesAreBounded) {
  ConstraintCompiler compiler = Make({.max_bytes = 300 << 10});
  for (int i = 0; i < 50; ++i) EXPECT_TRUE(Get(compiler, absl::StrCat("x", i)).ok());
  EXPECT_LT(compiler.stats().entries, 20u);
  EXPECT_GT(compiler.stats().entries, 1u);
  EXPECT_LE(compiler.stats().bytes, size_t{300} << 10);
}

TEST_F(ConstraintCompilerTest, ALexerThatHasGrownIsReplaced) {
  ConstraintCompiler compiler = Make({.limits = {.max_lexer_states = 200}});
  ConstraintCompiler::Result first = Get(compiler, "(a|b)*a(a|b){60}c");
  ASSERT_TRUE(first.ok()) << first.status();
  std::vector<uint32_t> mask(static_cast<size_t>((*first)->vocabulary().mask_words()));
  for (int i = 0; i < 60 && (*first)->lexer_size().states <= 100; ++i) {
    ASSERT_TRUE((*first)->Accept(i % 3 == 0 ? 'a' : 'b').ok());
    if (!(*first)->Mask(absl::MakeSpan(mask)).ok()) break;
  }
  ASSERT_GT((*first)->lexer_size().states, 100u);
  ConstraintCompiler::Result second = Get(compiler, "(a|b)*a(a|b){60}c");
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(checks_, 2);
  EXPECT_LT((*second)->lexer_size().states, 100u);
}

TEST_F(ConstraintCompilerTest, TheQueueIsBounded) {
  std::promise<void> started;
  std::promise<void> go_on;
  before_check_ = [&] {
    if (checks_ > 1) return;
    started.set_value();
    go_on.get_future().wait();
  };
  std::vector<std::promise<bool>> done(3);
  ConstraintCompiler compiler = Make({.max_queued = 1});
  const auto ask = [&](const char* text, int i) {
    return compiler.Compile({ConstraintKind::kRegex, text},
                            [&done, i](ConstraintCompiler::Result r) {
                              done[static_cast<size_t>(i)].set_value(r.ok());
                            });
  };
  EXPECT_TRUE(ask("a", 0).ok());
  started.get_future().wait();
  EXPECT_TRUE(ask("b", 1).ok());
  EXPECT_EQ(ask("c", 2).code(), absl::StatusCode::kResourceExhausted);
  go_on.set_value();
  EXPECT_TRUE(done[0].get_future().get());
  EXPECT_TRUE(done[1].get_future().get());
  EXPECT_TRUE(ask("c", 2).ok());
  EXPECT_TRUE(done[2].get_future().get());
}

}  // namespace
}  // namespace phalanx
