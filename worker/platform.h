// What a worker program computes with, and how its ranks meet. Its main function chooses one, and
// nothing else in worker/ knows a backend or a transport by its name.
#ifndef PHALANX_WORKER_PLATFORM_H_
#define PHALANX_WORKER_PLATFORM_H_

#include <functional>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/log.h"
#include "base/metrics_endpoint.h"
#include "kernels/ops.h"
#include "prometheus/gauge.h"
#include "prometheus/registry.h"
#include "worker/comm/communicator_factory.h"
#include "worker/memory_source.h"
#include "worker/worker_options.h"

namespace phalanx {

struct Platform {
  struct BackendOptions {
    int num_threads = 1;
    // What is asked for; Backend::determinism tells what it keeps.
    kernels::Determinism determinism = kernels::Determinism::kStrict;
    // What KV caches are to be kept in: Backend::kv_cache_dtype. None: what suits the device.
    std::optional<kernels::KvDType> kv_cache = std::nullopt;
  };
  // Makes the backend of this process. INVALID_ARGUMENT for fewer than one thread or a type of KV
  // caches that the device cannot read.
  std::function<absl::StatusOr<std::unique_ptr<kernels::Backend>>(const BackendOptions&)>
      make_backend;
  // The memory that the backend allocates from, as it is now. Errors are those of the device.
  std::function<absl::StatusOr<MemorySource>()> memory;
  // Puts what is known of this rank's device on its metrics page; null if nothing is. A rank can go
  // on after an error.
  std::function<absl::Status(MetricsEndpoint&)> add_metrics;
  // What suits the device, for flags that are not given.
  StepDefaults defaults = {};
  // Of the ranks of one group. Outlives the group.
  std::unique_ptr<CommunicatorFactory> communicators;
};

// Calls add_metrics; what cannot be read is told by a line in the log, and no reason to end.
inline void AddDeviceMetrics(const Platform& platform, MetricsEndpoint& endpoint) {
  if (!platform.add_metrics) return;
  const absl::Status status = platform.add_metrics(endpoint);
  if (!status.ok()) LOG(WARNING) << "no metrics of the device: " << status.message();
}

// Tells on the rank's metrics page what it computes with. Once for a registry.
inline void AddBackendMetric(const kernels::Backend& backend, prometheus::Registry& registry) {
  prometheus::BuildGauge()
      .Name("phalanx_backend_info")
      .Help("What this rank computes with and which determinism it keeps, as 1.")
      .Register(registry)
      .Add({{"arithmetic", backend.Arithmetic()},
            {"determinism", kernels::DeterminismName(backend.determinism())}})
      .Set(1);
}

}  // namespace phalanx

#endif  // PHALANX_WORKER_PLATFORM_H_
