#include "worker/nvml_api.h"

#include <dlfcn.h>

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace phalanx {
namespace {

std::string LastLoaderError() {
  // glibc keeps the error for each thread.
  // NOLINTNEXTLINE(concurrency-mt-unsafe)
  const char* const error = dlerror();
  return error != nullptr ? error : "no reason given";
}

// Sets `function` to the library's function of that name.
template <typename Function>
absl::Status Find(void* library, const char* name, Function* function) {
  void* const symbol = dlsym(library, name);
  if (symbol == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the library that tells the state of GPUs lacks a function: ", LastLoaderError()));
  }
  *function = reinterpret_cast<Function>(symbol);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<NvmlApi> LoadNvml(absl::string_view library) {
  const std::string name(library);
  void* const handle = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    return absl::NotFoundError(absl::StrCat(
        "NVML, which tells the state of a GPU, could not be loaded: ", LastLoaderError(),
        ". It was looked for as ", name,
        " in LD_LIBRARY_PATH and the folders of the system's libraries. It is part "
        "of NVIDIA's driver; containers get it if NVIDIA_DRIVER_CAPABILITIES has "
        "\"utility\""));
  }
  NvmlApi api;
  RETURN_IF_ERROR(Find(handle, "nvmlInit_v2", &api.Init));
  RETURN_IF_ERROR(Find(handle, "nvmlShutdown", &api.Shutdown));
  RETURN_IF_ERROR(Find(handle, "nvmlErrorString", &api.ErrorString));
  RETURN_IF_ERROR(Find(handle, "nvmlSystemGetDriverVersion", &api.SystemGetDriverVersion));
  RETURN_IF_ERROR(Find(handle, "nvmlDeviceGetHandleByPciBusId_v2", &api.DeviceGetHandleByPciBusId));
  RETURN_IF_ERROR(Find(handle, "nvmlDeviceGetName", &api.DeviceGetName));
  RETURN_IF_ERROR(Find(handle, "nvmlDeviceGetMemoryInfo", &api.DeviceGetMemoryInfo));
  RETURN_IF_ERROR(Find(handle, "nvmlDeviceGetUtilizationRates", &api.DeviceGetUtilizationRates));
  RETURN_IF_ERROR(Find(handle, "nvmlDeviceGetPowerUsage", &api.DeviceGetPowerUsage));
  RETURN_IF_ERROR(Find(handle, "nvmlDeviceGetTemperature", &api.DeviceGetTemperature));
  RETURN_IF_ERROR(Find(handle, "nvmlDeviceGetClockInfo", &api.DeviceGetClockInfo));
  RETURN_IF_ERROR(Find(handle, "nvmlDeviceGetTotalEccErrors", &api.DeviceGetTotalEccErrors));
  return api;
}

}  // namespace phalanx
