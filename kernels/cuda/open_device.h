// The GPU that a backend uses.
#ifndef PHALANX_KERNELS_CUDA_OPEN_DEVICE_H_
#define PHALANX_KERNELS_CUDA_OPEN_DEVICE_H_

#include <string>

#include "absl/status/statusor.h"

namespace phalanx::kernels::cuda {

// What a process is told of it.
struct Device {
  int number = 0;
  std::string name;
  int major = 0;
  int minor = 0;
};

// Makes device `number` the one that this thread uses. NOT_FOUND if there is no such device,
// INTERNAL if it does not work.
absl::StatusOr<Device> OpenDevice(int number);

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_OPEN_DEVICE_H_
