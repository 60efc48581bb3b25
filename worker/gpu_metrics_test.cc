#include "worker/gpu_metrics.h"

#include <memory>
#include <string>

#include "base/testing/fake_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "prometheus/registry.h"
#include "prometheus/text_serializer.h"

namespace phalanx {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class GpuMetricsTest : public testing::Test {
 protected:
  std::string Page() const { return prometheus::TextSerializer().Serialize(metrics_.Collect()); }

  GpuStatus status_ = {.memory_used_bytes = int64_t{3} << 30,
                       .memory_total_bytes = int64_t{80} << 30,
                       .utilization = 0.75,
                       .power_watts = 612.5,
                       .temperature_celsius = 61,
                       .sm_clock_hertz = 1'980'000'000,
                       .memory_clock_hertz = 3'201'000'000,
                       .ecc_corrected = 7,
                       .ecc_uncorrected = 2};
  int reads_ = 0;
  FakeClock clock_;
  const GpuMetrics metrics_{
      {.pci_bus_id = "0000:65:00.0", .name = "NVIDIA H200", .driver_version = "580.95.05"},
      [this] {
        ++reads_;
        return status_;
      },
      &clock_};
};

TEST_F(GpuMetricsTest, TellWhatTheDriverTells) {
  EXPECT_THAT(Page(),
              AllOf(HasSubstr("\nphalanx_gpu_info{gpu=\"0000:65:00.0\",name=\"NVIDIA H200\","
                              "driver=\"580.95.05\"} 1\n"),
                    HasSubstr("\nphalanx_gpu_lost 0\n"),
                    HasSubstr("# TYPE phalanx_gpu_memory_used_bytes gauge\n"
                              "phalanx_gpu_memory_used_bytes 3221225472\n"),
                    HasSubstr("\nphalanx_gpu_memory_total_bytes 85899345920\n"),
                    HasSubstr("\nphalanx_gpu_utilization_ratio 0.75\n"),
                    HasSubstr("\nphalanx_gpu_power_watts 612.5\n"),
                    HasSubstr("\nphalanx_gpu_temperature_celsius 61\n"),
                    HasSubstr("\nphalanx_gpu_clock_hertz{clock=\"sm\"} 1980000000\n"),
                    HasSubstr("\nphalanx_gpu_clock_hertz{clock=\"memory\"} 3201000000\n")));
  EXPECT_THAT(Page(), AllOf(HasSubstr("# TYPE phalanx_gpu_ecc_errors_total counter\n"
                                      "phalanx_gpu_ecc_errors_total{kind=\"corrected\"} 7\n"
                                      "phalanx_gpu_ecc_errors_total{kind=\"uncorrected\"} 2\n"),
                            HasSubstr("\nphalanx_gpu_read_errors_total 0\n")));
}

TEST_F(GpuMetricsTest, LeaveOutWhatIsNotKnown) {
  status_.power_watts.reset();
  status_.memory_clock_hertz.reset();
  status_.ecc_corrected.reset();
  status_.ecc_uncorrected.reset();
  EXPECT_THAT(Page(), AllOf(Not(HasSubstr("phalanx_gpu_power_watts")),
                            Not(HasSubstr("phalanx_gpu_ecc_errors_total")),
                            Not(HasSubstr("clock=\"memory\"")), HasSubstr("clock=\"sm\"")));
}

TEST_F(GpuMetricsTest, TellThatTheGpuIsLost) {
  EXPECT_THAT(Page(), HasSubstr("\nphalanx_gpu_lost 0\n"));
  status_ = {.is_lost = true};
  clock_.Advance(GpuMetrics::kReadInterval);
  EXPECT_THAT(Page(), AllOf(HasSubstr("\nphalanx_gpu_lost 1\n"), HasSubstr("phalanx_gpu_info{"),
                            Not(HasSubstr("phalanx_gpu_memory"))));
}

TEST_F(GpuMetricsTest, CountWhatCannotBeRead) {
  status_.errors = {"power: Unknown Error", "memory: Unknown Error"};
  EXPECT_THAT(Page(), HasSubstr("\nphalanx_gpu_read_errors_total 2\n"));
  clock_.Advance(GpuMetrics::kReadInterval);
  EXPECT_THAT(Page(), HasSubstr("\nphalanx_gpu_read_errors_total 4\n"));
}

TEST_F(GpuMetricsTest, AskTheDriverOnceASecondAtMost) {
  EXPECT_EQ(reads_, 0);
  Page();
  clock_.Advance(GpuMetrics::kReadInterval - absl::Milliseconds(1));
  status_.temperature_celsius = 70;
  EXPECT_THAT(Page(), HasSubstr("\nphalanx_gpu_temperature_celsius 61\n"));
  EXPECT_EQ(reads_, 1);
  clock_.Advance(absl::Milliseconds(1));
  EXPECT_THAT(Page(), HasSubstr("\nphalanx_gpu_temperature_celsius 70\n"));
  EXPECT_EQ(reads_, 2);
}

TEST(AddGpuMetricsTest, WithoutTheGpuThePageStaysAsItIs) {
  auto endpoint =
      MetricsEndpoint::Create({"127.0.0.1", 0}, "tester", std::make_shared<prometheus::Registry>());
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  // No machine has a GPU there, and most that run this have no driver either.
  EXPECT_FALSE(AddGpuMetrics("ffff:ff:1f.7", **endpoint).ok());
  EXPECT_THAT((*endpoint)->Page(), Not(HasSubstr("phalanx_gpu_")));
}

}  // namespace
}  // namespace phalanx
