// NVIDIA's management library (NVML) as far as we call it: a table of functions, filled from the
// library when a program starts or by a stand-in for tests. The library is part of the driver, so a
// machine without a GPU has none and can run everything else.
#ifndef PHALANX_WORKER_NVML_API_H_
#define PHALANX_WORKER_NVML_API_H_

#include <nvml.h>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace phalanx {

// The functions. A member is called as its function, without "nvml" and without a version, and does
// what NVIDIA's documentation says of it.
struct NvmlApi {
  nvmlReturn_t (*Init)() = nullptr;
  nvmlReturn_t (*Shutdown)() = nullptr;
  const char* (*ErrorString)(nvmlReturn_t result) = nullptr;
  nvmlReturn_t (*SystemGetDriverVersion)(char* version, unsigned length) = nullptr;
  nvmlReturn_t (*DeviceGetHandleByPciBusId)(const char* pci_bus_id, nvmlDevice_t* device) = nullptr;
  nvmlReturn_t (*DeviceGetName)(nvmlDevice_t device, char* name, unsigned length) = nullptr;
  nvmlReturn_t (*DeviceGetMemoryInfo)(nvmlDevice_t device, nvmlMemory_t* memory) = nullptr;
  nvmlReturn_t (*DeviceGetUtilizationRates)(nvmlDevice_t device,
                                            nvmlUtilization_t* utilization) = nullptr;
  nvmlReturn_t (*DeviceGetPowerUsage)(nvmlDevice_t device, unsigned* milliwatts) = nullptr;
  nvmlReturn_t (*DeviceGetTemperature)(nvmlDevice_t device, nvmlTemperatureSensors_t sensor,
                                       unsigned* celsius) = nullptr;
  nvmlReturn_t (*DeviceGetClockInfo)(nvmlDevice_t device, nvmlClockType_t type,
                                     unsigned* megahertz) = nullptr;
  nvmlReturn_t (*DeviceGetTotalEccErrors)(nvmlDevice_t device, nvmlMemoryErrorType_t type,
                                          nvmlEccCounterType_t counter,
                                          unsigned long long* errors) = nullptr;
};

inline constexpr absl::string_view kNvmlLibrary = "libnvidia-ml.so.1";

// Loads `library` from where the system looks for libraries; it stays loaded until the process
// ends. NOT_FOUND if it cannot be loaded, saying what was looked for and where it comes from;
// FAILED_PRECONDITION if it lacks a function.
absl::StatusOr<NvmlApi> LoadNvml(absl::string_view library = kNvmlLibrary);

}  // namespace phalanx

#endif  // PHALANX_WORKER_NVML_API_H_
