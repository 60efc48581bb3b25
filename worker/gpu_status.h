// The state of one GPU, as the driver's management library tells it.
#ifndef PHALANX_WORKER_GPU_STATUS_H_
#define PHALANX_WORKER_GPU_STATUS_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

// nvmlDevice_t is a pointer to it.
struct nvmlDevice_st;

namespace phalanx {

struct NvmlApi;

// What does not change. Texts that the driver does not tell are empty.
struct GpuIdentity {
  std::string pci_bus_id;  // For example "0000:65:00.0".
  std::string name;        // For example "NVIDIA H200".
  std::string driver_version;
};

// What a GPU does not support is unset, as is what could not be read just now.
struct GpuStatus {
  // The driver has lost the GPU, or the GPU does not work until it is reset. Then nothing else is
  // set.
  bool is_lost = false;
  std::optional<int64_t> memory_used_bytes = {};  // By all processes, and by the driver.
  std::optional<int64_t> memory_total_bytes = {};
  // The part of the driver's last sampling period, at most a second, in which a kernel ran: 0 to 1.
  std::optional<double> utilization = {};
  std::optional<double> power_watts = {};
  std::optional<int> temperature_celsius = {};
  std::optional<int64_t> sm_clock_hertz = {};
  std::optional<int64_t> memory_clock_hertz = {};
  // Errors of the GPU's memory since the driver was loaded.
  std::optional<int64_t> ecc_corrected = {};
  std::optional<int64_t> ecc_uncorrected = {};
  // What could not be read and why, in a line each; what a GPU does not support is not among them.
  std::vector<std::string> errors = {};
};

// Thread-safe.
class GpuMonitor {
 public:
  // For the GPU that has this PCI bus id, as cudaDeviceGetPCIBusId writes it. Numbers of devices
  // would not do: CUDA_VISIBLE_DEVICES changes CUDA's and not the library's.
  //
  // NOT_FOUND if there is no library, or no such GPU; FAILED_PRECONDITION if the library does not
  // fit; UNAVAILABLE, with the library's words, if the driver does not answer.
  static absl::StatusOr<std::unique_ptr<GpuMonitor>> Open(const std::string& pci_bus_id);

  // The same with functions that have been loaded, or those of a test.
  static absl::StatusOr<std::unique_ptr<GpuMonitor>> Open(const NvmlApi& api,
                                                          const std::string& pci_bus_id);
  GpuMonitor(const GpuMonitor&) = delete;
  GpuMonitor& operator=(const GpuMonitor&) = delete;
  ~GpuMonitor();

  const GpuIdentity& identity() const { return identity_; }

  // Asks the driver, which mostly takes less than a millisecond.
  GpuStatus Read() const;

 private:
  // The library has been initialized, and is shut down by the destructor.
  explicit GpuMonitor(const NvmlApi& api);

  const std::unique_ptr<const NvmlApi> api_;
  nvmlDevice_st* device_ = nullptr;
  GpuIdentity identity_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_GPU_STATUS_H_
