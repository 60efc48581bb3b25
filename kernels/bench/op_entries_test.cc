// That the benchmarks cover every op of op_list.h, and that each of them runs.
#include "kernels/bench/op_entries.h"

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/testing/op_recorder.h"

namespace phalanx::kernels {
namespace {

TEST(OpEntriesTest, EveryOpHasAnEntryThatBearsItsName) {
  std::set<Op> covered;
  for (const OpEntry& entry : AllOpEntries()) {
    covered.insert(entry.op);
    EXPECT_TRUE(absl::StartsWith(entry.name, OpName(entry.op))) << entry.name;
    EXPECT_FALSE(entry.rows.empty()) << entry.name;
  }
  for (const Op op : kAllOps) EXPECT_EQ(covered.count(op), 1u) << OpName(op) << " has no entry";
}

// Keeps what is reported in place of printing it.
class KeepReports : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override {
    runs_.insert(runs_.end(), runs.begin(), runs.end());
  }
  const std::vector<Run>& runs() const { return runs_; }

 private:
  std::vector<Run> runs_;
};

// One iteration of each entry, with its fewest rows.
TEST(OpEntriesTest, EveryEntryCallsItsOpAndReportsBytesAndPercent) {
  for (OpEntry entry : AllOpEntries()) {
    SCOPED_TRACE(entry.name);
    auto recorder = std::make_unique<OpRecorder>(*MakeCpuBackend({}));
    const std::set<Op>& called = recorder->called();
    OpBench bench = {.backend = std::move(recorder),
                     .stream = nullptr,
                     .ceilings = {.fma_gflop_per_s = 100.0, .read_gb_per_s = 10.0}};
    bench.stream = bench.backend->NewStream();
    entry.rows = {entry.rows.front()};
    RegisterOpEntry(entry, bench)->Iterations(1);
    KeepReports reporter;
    benchmark::RunSpecifiedBenchmarks(&reporter, "all");
    benchmark::ClearRegisteredBenchmarks();

    EXPECT_EQ(called.count(entry.op), 1u) << "does not call " << OpName(entry.op);
    ASSERT_EQ(reporter.runs().size(), 1u);
    const auto& counters = reporter.runs().front().counters;
    for (const char* const name : {"GB/s", "%read", "GFLOP/s", "%fma"}) {
      EXPECT_EQ(counters.count(name), 1u) << name;
    }
    ASSERT_EQ(counters.count("GB/s"), 1u);
    EXPECT_GT(counters.at("GB/s").value, 0.0);
  }
}

}  // namespace
}  // namespace phalanx::kernels
