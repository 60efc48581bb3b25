#include "worker/gpu_status.h"

#include <cstdio>
#include <map>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/nvml_api.h"

namespace phalanx {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kBusId[] = "0000:65:00.0";

// What the stand-in for the driver answers. A call that is not in `results` succeeds.
struct Driver {
  std::map<std::string, nvmlReturn_t> results;
  int initialized = 0;
  bool knows_the_gpu = true;
};

// The table has plain functions, so they find the driver here. Each test makes its own.
Driver* driver = nullptr;
nvmlDevice_t const kDevice = reinterpret_cast<nvmlDevice_t>(0x1234);

nvmlReturn_t ResultOf(const std::string& call) {
  EXPECT_GT(driver->initialized, 0) << call;
  const auto found = driver->results.find(call);
  return found == driver->results.end() ? NVML_SUCCESS : found->second;
}

nvmlReturn_t ResultOf(const std::string& call, nvmlDevice_t device) {
  EXPECT_EQ(device, kDevice) << call;
  return ResultOf(call);
}

const NvmlApi kStandIn = {
    .Init =
        [] {
          const auto found = driver->results.find("Init");
          if (found != driver->results.end()) return found->second;
          ++driver->initialized;
          return NVML_SUCCESS;
        },
    .Shutdown =
        [] {
          --driver->initialized;
          return NVML_SUCCESS;
        },
    .ErrorString = [](nvmlReturn_t result) -> const char* {
      return result == NVML_ERROR_NO_PERMISSION ? "Insufficient Permissions" : "Other Error";
    },
    .SystemGetDriverVersion =
        [](char* version, unsigned length) {
          std::snprintf(version, length, "580.95.05");
          return ResultOf("SystemGetDriverVersion");
        },
    .DeviceGetHandleByPciBusId =
        [](const char* pci_bus_id, nvmlDevice_t* device) {
          if (std::string(pci_bus_id) != kBusId) return NVML_ERROR_NOT_FOUND;
          *device = kDevice;
          return ResultOf("DeviceGetHandleByPciBusId");
        },
    .DeviceGetName =
        [](nvmlDevice_t device, char* name, unsigned length) {
          std::snprintf(name, length, "NVIDIA H200");
          return ResultOf("DeviceGetName", device);
        },
    .DeviceGetMemoryInfo =
        [](nvmlDevice_t device, nvmlMemory_t* memory) {
          memory->total = 143771ull << 20;
          memory->used = 100ull << 30;
          return ResultOf("DeviceGetMemoryInfo", device);
        },
    .DeviceGetUtilizationRates =
        [](nvmlDevice_t device, nvmlUtilization_t* utilization) {
          utilization->gpu = 75;
          utilization->memory = 20;
          return ResultOf("DeviceGetUtilizationRates", device);
        },
    .DeviceGetPowerUsage =
        [](nvmlDevice_t device, unsigned* milliwatts) {
          *milliwatts = 612500;
          return ResultOf("DeviceGetPowerUsage", device);
        },
    .DeviceGetTemperature =
        [](nvmlDevice_t device, nvmlTemperatureSensors_t sensor, unsigned* celsius) {
          EXPECT_EQ(sensor, NVML_TEMPERATURE_GPU);
          *celsius = 61;
          return ResultOf("DeviceGetTemperature", device);
        },
    .DeviceGetClockInfo =
        [](nvmlDevice_t device, nvmlClockType_t type, unsigned* megahertz) {
          *megahertz = type == NVML_CLOCK_SM ? 1980 : 3201;
          return ResultOf("DeviceGetClockInfo", device);
        },
    .DeviceGetTotalEccErrors =
        [](nvmlDevice_t device, nvmlMemoryErrorType_t type, nvmlEccCounterType_t counter,
           unsigned long long* errors) {
          EXPECT_EQ(counter, NVML_VOLATILE_ECC);
          *errors = type == NVML_MEMORY_ERROR_TYPE_CORRECTED ? 7 : 2;
          return ResultOf("DeviceGetTotalEccErrors", device);
        },
};

class GpuMonitorTest : public testing::Test {
 protected:
  GpuMonitorTest() { driver = &driver_; }
  ~GpuMonitorTest() override {
    EXPECT_EQ(driver_.initialized, 0);
    driver = nullptr;
  }

  GpuStatus Read() {
    const auto monitor = GpuMonitor::Open(kStandIn, kBusId);
    EXPECT_TRUE(monitor.ok()) << monitor.status();
    return monitor.ok() ? (*monitor)->Read() : GpuStatus();
  }

  Driver driver_;
};

TEST_F(GpuMonitorTest, TellsEachValueInItsUnit) {
  const GpuStatus status = Read();
  EXPECT_FALSE(status.is_lost);
  EXPECT_EQ(status.memory_total_bytes, int64_t{143771} << 20);
  EXPECT_EQ(status.memory_used_bytes, int64_t{100} << 30);
  EXPECT_EQ(status.utilization, 0.75);
  EXPECT_EQ(status.power_watts, 612.5);
  EXPECT_EQ(status.temperature_celsius, 61);
  EXPECT_EQ(status.sm_clock_hertz, 1'980'000'000);
  EXPECT_EQ(status.memory_clock_hertz, 3'201'000'000);
  EXPECT_EQ(status.ecc_corrected, 7);
  EXPECT_EQ(status.ecc_uncorrected, 2);
  EXPECT_THAT(status.errors, IsEmpty());
}

TEST_F(GpuMonitorTest, TellsWhichGpuItIs) {
  const auto monitor = GpuMonitor::Open(kStandIn, kBusId);
  ASSERT_TRUE(monitor.ok()) << monitor.status();
  EXPECT_EQ((*monitor)->identity().pci_bus_id, kBusId);
  EXPECT_EQ((*monitor)->identity().name, "NVIDIA H200");
  EXPECT_EQ((*monitor)->identity().driver_version, "580.95.05");
}

TEST_F(GpuMonitorTest, WhatTheDriverDoesNotTellOfAGpuIsEmpty) {
  driver_.results = {{"DeviceGetName", NVML_ERROR_UNKNOWN},
                     {"SystemGetDriverVersion", NVML_ERROR_UNKNOWN}};
  const auto monitor = GpuMonitor::Open(kStandIn, kBusId);
  ASSERT_TRUE(monitor.ok()) << monitor.status();
  EXPECT_EQ((*monitor)->identity().name, "");
  EXPECT_EQ((*monitor)->identity().driver_version, "");
}

TEST_F(GpuMonitorTest, WhatAGpuDoesNotSupportIsLeftOutAndNoError) {
  driver_.results = {{"DeviceGetTotalEccErrors", NVML_ERROR_NOT_SUPPORTED},
                     {"DeviceGetPowerUsage", NVML_ERROR_NOT_SUPPORTED}};
  const GpuStatus status = Read();
  EXPECT_FALSE(status.ecc_corrected.has_value());
  EXPECT_FALSE(status.ecc_uncorrected.has_value());
  EXPECT_FALSE(status.power_watts.has_value());
  EXPECT_EQ(status.temperature_celsius, 61);
  EXPECT_THAT(status.errors, IsEmpty());
}

TEST_F(GpuMonitorTest, WhatCannotBeReadIsLeftOutAndSaid) {
  driver_.results = {{"DeviceGetMemoryInfo", NVML_ERROR_NO_PERMISSION},
                     {"DeviceGetTemperature", NVML_ERROR_UNKNOWN}};
  const GpuStatus status = Read();
  EXPECT_FALSE(status.memory_used_bytes.has_value());
  EXPECT_FALSE(status.memory_total_bytes.has_value());
  EXPECT_FALSE(status.temperature_celsius.has_value());
  EXPECT_EQ(status.power_watts, 612.5);
  EXPECT_FALSE(status.is_lost);
  EXPECT_THAT(status.errors,
              ElementsAre("memory: Insufficient Permissions", "temperature: Other Error"));
}

TEST_F(GpuMonitorTest, OfALostGpuNothingElseIsTold) {
  for (const nvmlReturn_t result : {NVML_ERROR_GPU_IS_LOST, NVML_ERROR_RESET_REQUIRED}) {
    // What is asked first still works.
    driver_.results = {{"DeviceGetClockInfo", result},
                       {"DeviceGetTotalEccErrors", NVML_ERROR_UNKNOWN}};
    const GpuStatus status = Read();
    EXPECT_TRUE(status.is_lost) << result;
    EXPECT_FALSE(status.memory_used_bytes.has_value());
    EXPECT_THAT(status.errors, IsEmpty());
  }
}

TEST_F(GpuMonitorTest, AGpuThatIsNotThereIsNotFound) {
  const absl::Status status = GpuMonitor::Open(kStandIn, "0000:01:00.0").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("0000:01:00.0"));
}

TEST_F(GpuMonitorTest, ADriverThatDoesNotAnswerIsUnavailable) {
  driver_.results = {{"DeviceGetHandleByPciBusId", NVML_ERROR_GPU_IS_LOST}};
  EXPECT_EQ(GpuMonitor::Open(kStandIn, kBusId).status().code(), absl::StatusCode::kUnavailable);
  driver_.results = {{"Init", NVML_ERROR_NO_PERMISSION}};
  const absl::Status status = GpuMonitor::Open(kStandIn, kBusId).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("Insufficient Permissions"));
}

TEST(LoadNvmlTest, ALibraryThatIsNotThereIsNamed) {
  const absl::Status status = LoadNvml("libphalanx-has-none.so.1").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("libphalanx-has-none.so.1"), HasSubstr("NVIDIA's driver"),
                    HasSubstr("LD_LIBRARY_PATH")));
}

TEST(LoadNvmlTest, ALibraryOfAnotherKindDoesNotFit) {
  const absl::Status status = LoadNvml("libz.so.1").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("nvmlInit_v2"));
}

}  // namespace
}  // namespace phalanx
