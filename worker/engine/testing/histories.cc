#include "worker/engine/testing/histories.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <numeric>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/log.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

constexpr char kVariable[] = "PHALANX_HISTORY";
constexpr int kShrinkTries = 600;

HistoryInput MakeInput(uint64_t seed, absl::Span<const int> indices) {
  HistoryInput input = {.seed = seed, .operations = {}};
  for (const int index : indices) {
    input.operations.push_back(HistoryRandom(seed * 1'000'003 + static_cast<uint64_t>(index))());
  }
  return input;
}

// Runs the history in a child. Returns nothing if it failed. What it prints is dropped if `quiet`.
std::optional<HistoryTotals> RunInChild(const RunHistory& run, const HistoryInput& input,
                                        bool quiet) {
  int ends[2];
  CHECK(pipe(ends) == 0);
  std::cout << std::flush;
  std::fflush(nullptr);
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    close(ends[0]);
    if (quiet) {
      const int nowhere = open("/dev/null", O_WRONLY);
      dup2(nowhere, STDOUT_FILENO);
      dup2(nowhere, STDERR_FILENO);
    }
    const HistoryTotals totals = run(input);
    const bool failed = ::testing::Test::HasFailure();
    const bool written = write(ends[1], totals.data(), sizeof(totals)) == sizeof(totals);
    std::cout << std::flush;
    std::fflush(nullptr);
    _exit(failed || !written ? 1 : 0);
  }
  close(ends[1]);
  HistoryTotals totals = {};
  const bool complete = read(ends[0], totals.data(), sizeof(totals)) == sizeof(totals);
  close(ends[0]);
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child);
  if (!complete || !WIFEXITED(status) || WEXITSTATUS(status) != 0) return std::nullopt;
  return totals;
}

void TellFailure(const RunHistory& run, uint64_t seed, int operations) {
  const std::vector<int> left = ShrinkOperations(
      operations,
      [&](absl::Span<const int> indices) {
        return !RunInChild(run, MakeInput(seed, indices), /*quiet=*/true).has_value();
      },
      kShrinkTries);
  HistoryInput shortest = MakeInput(seed, left);
  shortest.tell = true;
  RunInChild(run, shortest, /*quiet=*/false);
  ADD_FAILURE() << "The history of seed " << seed << " fails. Of its " << operations
                << " operations, these " << left.size() << " are enough, run again by\n  "
                << kVariable << "=" << seed << ":" << absl::StrJoin(left, ",");
}

// The seed and the operations that the environment asks for.
std::optional<HistoryInput> AskedFor() {
  const char* const asked = std::getenv(kVariable);  // NOLINT(concurrency-mt-unsafe)
  if (asked == nullptr) return std::nullopt;
  const std::vector<std::string> parts = absl::StrSplit(asked, ':');
  uint64_t seed = 0;
  CHECK(parts.size() == 2 && absl::SimpleAtoi(parts[0], &seed)) << kVariable << " is " << asked;
  std::vector<int> indices;
  for (const absl::string_view part : absl::StrSplit(parts[1], ',')) {
    indices.emplace_back();
    CHECK(absl::SimpleAtoi(part, &indices.back())) << kVariable << " is " << asked;
  }
  HistoryInput input = MakeInput(seed, indices);
  input.tell = true;
  return input;
}

}  // namespace

std::vector<int> ShrinkOperations(int count,
                                  const std::function<bool(absl::Span<const int>)>& fails,
                                  int tries) {
  std::vector<int> left(count);
  std::iota(left.begin(), left.end(), 0);
  for (size_t part = (left.size() + 1) / 2; part > 0 && tries > 0;) {
    bool shorter = false;
    // From the end, since what comes after the failure is of no use.
    for (size_t end = left.size(); end > 0 && tries > 0; end = end > part ? end - part : 0) {
      std::vector<int> rest = left;
      const size_t begin = end > part ? end - part : 0;
      rest.erase(rest.begin() + static_cast<int64_t>(begin),
                 rest.begin() + static_cast<int64_t>(std::min(end, rest.size())));
      --tries;
      if (!fails(rest)) continue;
      left = std::move(rest);
      shorter = true;
    }
    if (!shorter || part > 1) part /= 2;
  }
  return left;
}

HistoryTotals RunHistories(int histories, int operations, const RunHistory& run) {
  if (const std::optional<HistoryInput> asked = AskedFor(); asked.has_value()) return run(*asked);
  std::vector<int> all(operations);
  std::iota(all.begin(), all.end(), 0);
  HistoryTotals sums = {};
  for (int seed = 0; seed < histories; ++seed) {
    const std::optional<HistoryTotals> totals =
        RunInChild(run, MakeInput(seed, all), /*quiet=*/true);
    if (!totals.has_value()) {
      TellFailure(run, seed, operations);
      return sums;
    }
    for (size_t i = 0; i < sums.size(); ++i) sums[i] += (*totals)[i];
  }
  return sums;
}

}  // namespace phalanx
