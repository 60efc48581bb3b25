#include "coordinator/text/renderer/renderer_pool.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

// The templates of these tests make values that hold each other and are never freed, which
// LeakSanitizer would report.
extern "C" int __lsan_is_turned_off() { return 1; }

namespace phalanx {
namespace {

using testing::SizeIs;

constexpr char kSpin[] =
    "{% if spin %}{{ 'x' in [0] * 1000000000000000 }}{% endif %}{{ greeting }}";

RendererLimits SmallLimits() {
  RendererLimits limits;
  limits.max_cpu_time = absl::Milliseconds(200);
  return limits;
}

std::unique_ptr<RendererPool> StartPool(int num_processes, const RendererLimits& limits = {}) {
  auto pool = RendererPool::Start(num_processes, limits);
  EXPECT_TRUE(pool.ok()) << pool.status();
  return *std::move(pool);
}

std::unique_ptr<JinjaTemplate> Compile(RendererPool& pool, const std::string& source) {
  auto compiled = pool.Compile(source);
  EXPECT_TRUE(compiled.ok()) << compiled.status();
  return *std::move(compiled);
}

void ExpectHello(const JinjaTemplate& compiled) {
  const auto text = compiled.Render(R"({"greeting": "hello"})");
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, "hello");
}

TEST(RendererPoolTest, RendersWithItsVariablesAsOftenAsWanted) {
  const auto pool = StartPool(1);
  const auto one = Compile(*pool, "{{ greeting }}");
  const auto other = Compile(*pool, "{{ greeting | upper }}, {{ n + 1 }}");
  const pid_t pid = pool->idle_pids()[0];
  for (int i = 0; i < 100; ++i) {
    ExpectHello(*one);
    EXPECT_EQ(*other->Render(absl::StrCat(R"({"greeting": "a", "n": )", i, "}")),
              absl::StrCat("A, ", i + 1));
  }
  EXPECT_EQ(pool->idle_pids(), std::vector<pid_t>{pid}) << "one process for all";
}

TEST(RendererPoolTest, LongTextsPassInBothDirections) {
  const auto pool = StartPool(1);
  const auto compiled = Compile(*pool, "{{ text }}{{ text }}");
  const std::string text(5 << 20, 'x');
  EXPECT_EQ(*compiled->Render(absl::StrCat("{\"text\": \"", text, "\"}")), text + text);
}

TEST(RendererPoolTest, ErrorsComeBackAndEndNothing) {
  const auto pool = StartPool(1);
  const pid_t pid = pool->idle_pids()[0];
  const absl::Status broken = pool->Compile("a\n{{ x | nothing }}").status();
  EXPECT_EQ(broken, absl::InvalidArgumentError("line 2: there is no filter \"nothing\""));
  const auto compiled = Compile(*pool, "{{ raise_exception('no: ' ~ greeting) }}");
  EXPECT_EQ(compiled->Render(R"({"greeting": "hello"})").status(),
            absl::InvalidArgumentError("no: hello"));
  EXPECT_EQ(pool->idle_pids(), std::vector<pid_t>{pid});
}

TEST(RendererPoolTest, AProcessKilledBetweenCallsIsReplaced) {
  const auto pool = StartPool(1);
  const auto compiled = Compile(*pool, "{{ greeting }}");
  for (int i = 0; i < 3; ++i) {
    const pid_t pid = pool->idle_pids()[0];
    ASSERT_EQ(kill(pid, SIGKILL), 0);
    ExpectHello(*compiled);
    EXPECT_NE(pool->idle_pids()[0], pid);
  }
}

TEST(RendererPoolTest, AProcessKilledAtWorkIsReplacedAndTheCallMadeOnceMore) {
  const auto pool = StartPool(1);
  // With `slow` it computes for a tenth of a second.
  const auto compiled =
      Compile(*pool, "{% if slow and 'x' in [0] * 2000000 %}{% endif %}{{ greeting }}");
  // On a busy machine the call may be over before the signal comes. Then the test tries again.
  for (bool killed_at_work = false; !killed_at_work;) {
    // If the last round killed the process after its call, this call replaces it.
    ExpectHello(*compiled);
    const pid_t pid = pool->idle_pids()[0];
    absl::StatusOr<std::string> text;
    std::atomic<bool> is_over = false;
    std::thread caller([&] {
      text = compiled->Render(R"({"slow": true, "greeting": "hello"})");
      is_over = true;
    });
    while (!pool->idle_pids().empty() && !is_over) std::this_thread::yield();
    EXPECT_EQ(kill(pid, SIGKILL), 0);
    caller.join();
    ASSERT_TRUE(text.ok()) << text.status();
    EXPECT_EQ(*text, "hello");
    killed_at_work = pool->idle_pids()[0] != pid;
  }
}

TEST(RendererProcessTest, TellsDeathFromOutsideFromItsOwnFault) {
  const auto process = RendererProcess::Start(SmallLimits());
  ASSERT_TRUE(process.ok()) << process.status();
  ASSERT_TRUE((*process)->Call(RendererCall::kCompile, 1, kSpin).text.ok());
  ASSERT_EQ(kill((*process)->pid(), SIGKILL), 0);
  RendererResult result = (*process)->Call(RendererCall::kRender, 1, "{}");
  EXPECT_EQ(result.death, RendererDeath::kOutside);
  EXPECT_EQ(result.text.status(),
            absl::UnavailableError(
                "the process that renders chat templates was ended from outside; try again"));
  const auto other = RendererProcess::Start(SmallLimits());
  ASSERT_TRUE(other.ok()) << other.status();
  ASSERT_TRUE((*other)->Call(RendererCall::kCompile, 1, kSpin).text.ok());
  result = (*other)->Call(RendererCall::kRender, 1, R"({"spin": true})");
  EXPECT_EQ(result.death, RendererDeath::kOwnFault);
  EXPECT_EQ(result.text.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(RendererPoolTest, AStoppedProcessIsGivenUp) {
  RendererLimits limits;
  limits.patience = absl::Milliseconds(300);
  const auto pool = StartPool(1, limits);
  const auto compiled = Compile(*pool, "{{ greeting }}");
  const pid_t pid = pool->idle_pids()[0];
  ASSERT_EQ(kill(pid, SIGSTOP), 0);
  ExpectHello(*compiled);
  EXPECT_NE(pool->idle_pids()[0], pid);
}

TEST(RendererPoolTest, WhatComputesForEverEndsAloneAndNamesTheLimit) {
  const auto pool = StartPool(2, SmallLimits());
  const auto compiled = Compile(*pool, kSpin);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(compiled->Render(R"({"spin": true})").status(),
              absl::InvalidArgumentError("takes more than 200ms of computing"));
    ExpectHello(*compiled);
  }
}

TEST(RendererPoolTest, StepsAndOutputAreLimitedToo) {
  RendererLimits limits;
  limits.jinja = {.max_steps = 1000, .max_output_bytes = 1000};
  const auto pool = StartPool(1, limits);
  const auto compiled =
      Compile(*pool, "{% for i in range(n) %}{% endfor %}{{ 'ab' * m }}{{ greeting }}");
  EXPECT_EQ(compiled->Render(R"({"n": 1000, "m": 1})").status(),
            absl::InvalidArgumentError("takes more than 1000 steps"));
  EXPECT_EQ(compiled->Render(R"({"n": 1, "m": 501})").status(),
            absl::InvalidArgumentError("writes more than 1000 bytes"));
  EXPECT_EQ(*compiled->Render(R"({"n": 1, "m": 1, "greeting": "x"})"), "abx");
}

TEST(RendererPoolTest, SignalsOfATerminalDoNotEndIt) {
  const auto pool = StartPool(1);
  const auto compiled = Compile(*pool, "{{ greeting }}");
  const pid_t pid = pool->idle_pids()[0];
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) ASSERT_EQ(kill(pid, number), 0);
  ExpectHello(*compiled);
  EXPECT_EQ(pool->idle_pids()[0], pid);
}

TEST(RendererPoolTest, ThreadsShareTheProcesses) {
  const auto pool = StartPool(3);
  const auto compiled = Compile(*pool, "{{ greeting }}");
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 50; ++j) ExpectHello(*compiled);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(pool->idle_pids(), SizeIs(3));
}

TEST(RendererPoolTest, ProcessesEndWithThePool) {
  auto pool = StartPool(2);
  const std::vector<pid_t> pids = pool->idle_pids();
  ASSERT_THAT(pids, SizeIs(2));
  pool.reset();
  for (const pid_t pid : pids) {
    EXPECT_EQ(kill(pid, 0), -1);
    EXPECT_EQ(errno, ESRCH);
  }
}

TEST(RendererPoolTest, ProcessesEndWithAProgramThatDoesNotSayGoodbye) {
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  const pid_t program = fork();
  if (program == 0) {
    const auto pool = RendererPool::Start(1, {});
    const pid_t pid = pool.ok() ? (*pool)->idle_pids()[0] : -1;
    if (write(pipe_ends[1], &pid, sizeof(pid)) != sizeof(pid)) _exit(1);
    kill(getpid(), SIGKILL);
  }
  pid_t renderer = -1;
  ASSERT_EQ(read(pipe_ends[0], &renderer, sizeof(renderer)), sizeof(renderer));
  ASSERT_GT(renderer, 0);
  ASSERT_EQ(waitpid(program, nullptr, 0), program);
  // Another process reaps it. Until then it is a zombie, which has closed all that it had open.
  const std::string exe = absl::StrCat("/proc/", renderer, "/exe");
  char target[256];
  while (readlink(exe.c_str(), target, sizeof(target)) > 0) std::this_thread::yield();
}

TEST(RendererPoolTest, NoDescriptorsAreHandedOn) {
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  const auto pool = StartPool(1);
  const auto compiled = Compile(*pool, "{{ greeting }}");
  const std::string command =
      absl::StrCat("ls /proc/", pool->idle_pids()[0], "/fd | sort | tr '\\n' ' '");
  FILE* const listing = popen(command.c_str(), "r");
  char line[256] = {};
  ASSERT_NE(fgets(line, sizeof(line), listing), nullptr);
  pclose(listing);
  EXPECT_STREQ(line, "0 1 2 ");
}

}  // namespace
}  // namespace phalanx
