#include "base/log_writer.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/log.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace phalanx {
namespace {

using testing::HasSubstr;

// A pipe in place of standard error.
class LogWriterTest : public testing::Test {
 protected:
  void SetUp() override {
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    read_fd_ = ends[0];
    write_fd_ = ends[1];
  }

  void TearDown() override {
    close(read_fd_);
    if (write_fd_ >= 0) close(write_fd_);
  }

  LogWriter::Options Options() const {
    return {.fd = write_fd_, .max_queued_bytes = 16 << 10, .flush_timeout = absl::Milliseconds(50)};
  }

  // Everything up to the end of the pipe, whose writing end is closed.
  std::vector<std::string> ReadLines() {
    close(write_fd_);
    write_fd_ = -1;
    std::string all;
    char buffer[4096];
    for (ssize_t bytes; (bytes = read(read_fd_, buffer, sizeof(buffer))) > 0;) {
      all.append(buffer, static_cast<size_t>(bytes));
    }
    std::vector<std::string> lines = absl::StrSplit(all, '\n');
    EXPECT_EQ(lines.back(), "") << "the last line is not whole";
    lines.pop_back();
    return lines;
  }

  // The next line that is not empty, waiting for it.
  std::string ReadLine() {
    std::string line;
    for (char c = 0; read(read_fd_, &c, 1) == 1 && (c != '\n' || line.empty());) {
      if (c != '\n') line += c;
    }
    return line;
  }

  // Leaves no room in the pipe; ReadLine skips it.
  void FillPipe() {
    ASSERT_EQ(fcntl(write_fd_, F_SETFL, O_NONBLOCK), 0);
    while (write(write_fd_, "\n", 1) == 1) {
    }
    ASSERT_EQ(fcntl(write_fd_, F_SETFL, 0), 0);
  }

  // One, or as many as the line says are missing.
  static int64_t LinesToldBy(const std::string& line) {
    int64_t missing = 1;
    if (line.find("missing here") != std::string::npos) {
      EXPECT_EQ(std::sscanf(line.substr(line.find("] ") + 2).c_str(), "%ld", &missing), 1);
    }
    return missing;
  }

  // Lines up to the one about those that were dropped, with it; then the queue is empty.
  std::vector<std::string> ReadUntilTheGapIsTold() {
    std::vector<std::string> lines = {ReadLine()};
    while (lines.back().find("missing here") == std::string::npos) lines.push_back(ReadLine());
    return lines;
  }

  // Logs until lines are dropped: pipe and queue are full.
  static void LogUntilDropped() {
    const int64_t before = LogLinesDropped();
    while (LogLinesDropped() == before) LOG(INFO) << std::string(200, 'x');
  }

  int read_fd_ = -1;
  int write_fd_ = -1;
};

TEST_F(LogWriterTest, WritesWhatIsQueuedBeforeItGoes) {
  {
    const LogWriter writer({.fd = write_fd_, .flush_timeout = absl::Minutes(1)});
    for (int i = 0; i < 100; ++i) LOG(INFO) << "line " << i;
  }
  const std::vector<std::string> lines = ReadLines();
  ASSERT_EQ(lines.size(), 100);
  for (int i = 0; i < 100; ++i) EXPECT_THAT(lines[i], testing::EndsWith(absl::StrCat(" ", i)));
}

TEST_F(LogWriterTest, ThreadsDoNotWaitForAReader) {
  constexpr int kThreads = 4;
  constexpr int kLines = 1000;
  const int64_t before = LogLinesDropped();
  {
    const LogWriter writer(Options());
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([] {
        for (int i = 0; i < kLines; ++i) LOG(INFO) << std::string(200, 'x');
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_GT(LogLinesDropped(), before);
    // The lines that the pipe and the queue hold were not dropped.
    EXPECT_LT(LogLinesDropped(), before + kThreads * kLines);
  }
  // The destructor was back although nobody has read a byte. The thread that it left behind would
  // count into the next test, and still uses the descriptor as far as anybody can tell.
  int64_t lines = 0;
  while (lines < kThreads * kLines) lines += LinesToldBy(ReadLine());
  EXPECT_EQ(lines, kThreads * kLines);
  write_fd_ = -1;
}

TEST_F(LogWriterTest, SaysHowManyWereDroppedInTheirPlace) {
  const int64_t before = LogLinesDropped();
  LogWriter::Options options = Options();
  options.flush_timeout = absl::Minutes(1);
  options.format = LogFormat::kJson;
  std::vector<std::string> lines;
  {
    FillPipe();
    const LogWriter writer(options);
    LogUntilDropped();
    LOG(ERROR) << "lost as well";
    EXPECT_EQ(LogLinesDropped(), before + 2);
    lines = ReadUntilTheGapIsTold();
    LOG(INFO) << "after";
  }
  EXPECT_EQ(nlohmann::json::parse(lines.back())["message"],
            "2 lines of the log are missing here: they came faster than they could be written");
  for (const std::string& line : lines) EXPECT_TRUE(nlohmann::json::accept(line)) << line;
  const std::vector<std::string> rest = ReadLines();
  ASSERT_EQ(rest.size(), 1);
  EXPECT_THAT(rest[0], HasSubstr("after"));
}

TEST_F(LogWriterTest, CountsLinesThatCannotBeWritten) {
  const int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
  ASSERT_GE(full, 0);
  const int64_t before = LogLinesDropped();
  {
    const LogWriter writer({.fd = full, .flush_timeout = absl::Minutes(1)});
    LOG(INFO) << "one";
    LOG(INFO) << "two";
  }
  EXPECT_EQ(LogLinesDropped(), before + 2);
  close(full);
}

TEST_F(LogWriterTest, WritesToADescriptorThatDoesNotBlock) {
  FillPipe();
  ASSERT_EQ(fcntl(write_fd_, F_SETFL, O_NONBLOCK), 0);
  const int64_t before = LogLinesDropped();
  LogWriter::Options options = Options();
  options.flush_timeout = absl::Minutes(1);
  const LogWriter writer(options);
  LogUntilDropped();
  EXPECT_EQ(LinesToldBy(ReadUntilTheGapIsTold().back()), LogLinesDropped() - before);
}

TEST_F(LogWriterTest, LinesOfSeveralProcessesStayWhole) {
  constexpr int kProcesses = 3;
  constexpr int kLines = 50;
  std::vector<pid_t> children;
  for (int p = 0; p < kProcesses; ++p) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      {
        const LogWriter writer({.fd = write_fd_, .flush_timeout = absl::Minutes(1)});
        // Longer than a line may be, so that each write is as long as possible.
        for (int i = 0; i < kLines; ++i) LOG(INFO) << std::string(10'000, char('a' + p));
      }
      _exit(0);
    }
    children.push_back(child);
  }
  const std::vector<std::string> lines = ReadLines();
  for (const pid_t child : children) waitpid(child, nullptr, 0);
  EXPECT_EQ(lines.size(), kProcesses * kLines);
  for (const std::string& line : lines) {
    EXPECT_THAT(line, testing::MatchesRegex("I [^ ]+ [^ ]+\\] (a+|b+|c+)[.]+ \\([0-9]+ more.*"));
  }
}

TEST_F(LogWriterTest, AForkedChildWritesItself) {
  const LogWriter writer(Options());
  LOG(INFO) << "of the parent";
  EXPECT_THAT(ReadLine(), HasSubstr("of the parent"));
  EXPECT_EXIT(
      {
        LOG(ERROR) << "of the child";
        _exit(0);
      },
      testing::ExitedWithCode(0), "of the child");
}

using LogWriterDeathTest = LogWriterTest;

TEST_F(LogWriterDeathTest, AFatalLineGetsOutBeforeTheEnd) {
  EXPECT_DEATH(
      {
        const LogWriter writer({.flush_timeout = absl::Minutes(1)});
        for (int i = 0; i < 100; ++i) LOG(INFO) << "before";
        LOG(FATAL) << "the last word";
      },
      "the last word");
}

TEST_F(LogWriterDeathTest, AFatalLineThatNobodyReadsEndsTheProcessAllTheSame) {
  EXPECT_DEATH(
      {
        const LogWriter writer(Options());
        LogUntilDropped();
        LOG(FATAL) << "unheard";
      },
      "");
}

}  // namespace
}  // namespace phalanx
