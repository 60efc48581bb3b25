#include "worker/gpu_status.h"

#include <array>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "worker/nvml_api.h"

namespace phalanx {
namespace {

// Long enough for a name (96) and a version of the driver (80).
using TextBuffer = std::array<char, 96>;

constexpr int64_t kHertzPerMegahertz = 1'000'000;

// Collects the values that can be read.
class Reading {
 public:
  explicit Reading(const NvmlApi& api) : api_(api) {}

  // Whether a value was read.
  bool Ok(nvmlReturn_t result, absl::string_view what) {
    switch (result) {
      case NVML_SUCCESS:
        return true;
      case NVML_ERROR_NOT_SUPPORTED:
        return false;
      case NVML_ERROR_GPU_IS_LOST:
      case NVML_ERROR_RESET_REQUIRED:
        is_lost_ = true;
        return false;
      default:
        errors_.push_back(absl::StrCat(what, ": ", api_.ErrorString(result)));
        return false;
    }
  }

  bool is_lost() const { return is_lost_; }
  std::vector<std::string> TakeErrors() { return std::move(errors_); }

 private:
  const NvmlApi& api_;
  bool is_lost_ = false;
  std::vector<std::string> errors_;
};

absl::Status OpenError(const NvmlApi& api, nvmlReturn_t result, absl::string_view doing) {
  const auto code =
      result == NVML_ERROR_NOT_FOUND ? absl::StatusCode::kNotFound : absl::StatusCode::kUnavailable;
  return absl::Status(code, absl::StrCat(doing, ": NVML says \"", api.ErrorString(result), "\""));
}

}  // namespace

GpuMonitor::GpuMonitor(const NvmlApi& api) : api_(std::make_unique<const NvmlApi>(api)) {}

GpuMonitor::~GpuMonitor() { api_->Shutdown(); }

absl::StatusOr<std::unique_ptr<GpuMonitor>> GpuMonitor::Open(const std::string& pci_bus_id) {
  ASSIGN_OR_RETURN(const NvmlApi api, LoadNvml());
  return Open(api, pci_bus_id);
}

absl::StatusOr<std::unique_ptr<GpuMonitor>> GpuMonitor::Open(const NvmlApi& api,
                                                             const std::string& pci_bus_id) {
  if (const nvmlReturn_t result = api.Init(); result != NVML_SUCCESS) {
    return OpenError(api, result, "asking the driver for the state of GPUs");
  }
  std::unique_ptr<GpuMonitor> monitor(new GpuMonitor(api));
  const nvmlReturn_t result = api.DeviceGetHandleByPciBusId(pci_bus_id.c_str(), &monitor->device_);
  if (result != NVML_SUCCESS) {
    return OpenError(api, result, absl::StrCat("looking for the GPU at ", pci_bus_id));
  }
  monitor->identity_.pci_bus_id = pci_bus_id;
  TextBuffer text = {};
  if (api.DeviceGetName(monitor->device_, text.data(), text.size()) == NVML_SUCCESS) {
    monitor->identity_.name = text.data();
  }
  if (api.SystemGetDriverVersion(text.data(), text.size()) == NVML_SUCCESS) {
    monitor->identity_.driver_version = text.data();
  }
  return monitor;
}

GpuStatus GpuMonitor::Read() const {
  GpuStatus status;
  Reading reading(*api_);
  nvmlMemory_t memory = {};
  if (reading.Ok(api_->DeviceGetMemoryInfo(device_, &memory), "memory")) {
    status.memory_used_bytes = static_cast<int64_t>(memory.used);
    status.memory_total_bytes = static_cast<int64_t>(memory.total);
  }
  nvmlUtilization_t utilization = {};
  if (reading.Ok(api_->DeviceGetUtilizationRates(device_, &utilization), "utilization")) {
    status.utilization = utilization.gpu / 100.0;
  }
  unsigned value = 0;
  if (reading.Ok(api_->DeviceGetPowerUsage(device_, &value), "power")) {
    status.power_watts = value / 1000.0;
  }
  if (reading.Ok(api_->DeviceGetTemperature(device_, NVML_TEMPERATURE_GPU, &value),
                 "temperature")) {
    status.temperature_celsius = static_cast<int>(value);
  }
  if (reading.Ok(api_->DeviceGetClockInfo(device_, NVML_CLOCK_SM, &value), "SM clock")) {
    status.sm_clock_hertz = value * kHertzPerMegahertz;
  }
  if (reading.Ok(api_->DeviceGetClockInfo(device_, NVML_CLOCK_MEM, &value), "memory clock")) {
    status.memory_clock_hertz = value * kHertzPerMegahertz;
  }
  unsigned long long errors = 0;
  if (reading.Ok(api_->DeviceGetTotalEccErrors(device_, NVML_MEMORY_ERROR_TYPE_CORRECTED,
                                               NVML_VOLATILE_ECC, &errors),
                 "corrected memory errors")) {
    status.ecc_corrected = static_cast<int64_t>(errors);
  }
  if (reading.Ok(api_->DeviceGetTotalEccErrors(device_, NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
                                               NVML_VOLATILE_ECC, &errors),
                 "uncorrected memory errors")) {
    status.ecc_uncorrected = static_cast<int64_t>(errors);
  }
  // What was read before the GPU was lost says nothing any more.
  if (reading.is_lost()) return {.is_lost = true};
  status.errors = reading.TakeErrors();
  return status;
}

}  // namespace phalanx
