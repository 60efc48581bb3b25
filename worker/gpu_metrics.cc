#include "worker/gpu_metrics.h"

#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_join.h"
#include "base/log.h"
#include "base/status.h"

namespace phalanx {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

// One series, without labels or with a single one. The value goes where the type looks for it.
ClientMetric Series(double value, std::vector<ClientMetric::Label> labels = {}) {
  ClientMetric metric;
  metric.label = std::move(labels);
  metric.gauge.value = value;
  metric.counter.value = value;
  return metric;
}

// Collects families, of which those without series are left out.
class Page {
 public:
  void Add(const std::string& name, const std::string& help, MetricType type,
           std::vector<ClientMetric> series) {
    if (!series.empty()) families_.push_back({name, help, type, std::move(series)});
  }

  template <typename T>
  void AddGauge(const std::string& name, const std::string& help, const std::optional<T>& value) {
    if (value.has_value()) {
      Add(name, help, MetricType::Gauge, {Series(static_cast<double>(*value))});
    }
  }

  std::vector<MetricFamily> Take() { return std::move(families_); }

 private:
  std::vector<MetricFamily> families_;
};

// Series of those values that are there, told apart by a label.
std::vector<ClientMetric> Labelled(
    const std::string& label,
    const std::vector<std::pair<std::string, std::optional<int64_t>>>& values) {
  std::vector<ClientMetric> series;
  for (const auto& [name, value] : values) {
    if (value.has_value()) series.push_back(Series(static_cast<double>(*value), {{label, name}}));
  }
  return series;
}

}  // namespace

GpuMetrics::GpuMetrics(GpuIdentity identity, std::function<GpuStatus()> read, const Clock* clock)
    : identity_(std::move(identity)), read_(std::move(read)), clock_(clock) {}

void GpuMetrics::Refresh() const {
  const absl::Time now = clock_->Now();
  if (now < next_read_) return;
  status_ = read_();
  next_read_ = now + kReadInterval;
  read_errors_ += static_cast<double>(status_.errors.size());
  if (status_.is_lost && !has_logged_loss_) {
    LOG(ERROR) << "the driver has lost the GPU at " << identity_.pci_bus_id
               << ", or it must be reset; look for \"Xid\" in the kernel's log";
    has_logged_loss_ = true;
  }
  if (!status_.errors.empty() && !has_logged_errors_) {
    LOG(WARNING) << "some metrics of the GPU at " << identity_.pci_bus_id
                 << " cannot be read: " << absl::StrJoin(status_.errors, "; ");
    has_logged_errors_ = true;
  }
}

std::vector<MetricFamily> GpuMetrics::Collect() const {
  MutexLock lock(&mutex_);
  Refresh();
  Page page;
  page.Add("phalanx_gpu_info", "The GPU that this rank computes on, as 1.", MetricType::Gauge,
           {Series(1, {{"gpu", identity_.pci_bus_id},
                       {"name", identity_.name},
                       {"driver", identity_.driver_version}})});
  page.Add("phalanx_gpu_lost",
           "1 if the driver has lost this rank's GPU or the GPU must be reset, else 0.",
           MetricType::Gauge, {Series(status_.is_lost ? 1 : 0)});
  page.AddGauge("phalanx_gpu_memory_used_bytes",
                "Memory of this rank's GPU that is in use, by all processes and the driver.",
                status_.memory_used_bytes);
  page.AddGauge("phalanx_gpu_memory_total_bytes", "Memory of this rank's GPU.",
                status_.memory_total_bytes);
  page.AddGauge("phalanx_gpu_utilization_ratio",
                "Part of the driver's last sampling period in which a kernel ran on this rank's "
                "GPU, of any process; it does not tell how much of the GPU the kernel used.",
                status_.utilization);
  page.AddGauge("phalanx_gpu_power_watts", "Power that this rank's GPU draws.",
                status_.power_watts);
  page.AddGauge("phalanx_gpu_temperature_celsius", "Temperature of this rank's GPU.",
                status_.temperature_celsius);
  page.Add(
      "phalanx_gpu_clock_hertz",
      "Clock of the multiprocessors (sm) and of the memory of this rank's GPU.", MetricType::Gauge,
      Labelled("clock", {{"sm", status_.sm_clock_hertz}, {"memory", status_.memory_clock_hertz}}));
  page.Add("phalanx_gpu_ecc_errors_total",
           "Errors in the memory of this rank's GPU since the driver was loaded, by whether they "
           "could be corrected.",
           MetricType::Counter,
           Labelled("kind", {{"corrected", status_.ecc_corrected},
                             {"uncorrected", status_.ecc_uncorrected}}));
  page.Add("phalanx_gpu_read_errors_total",
           "Values that the driver should have told for this page, and did not.",
           MetricType::Counter, {Series(read_errors_)});
  return page.Take();
}

absl::Status AddGpuMetrics(const std::string& pci_bus_id, MetricsEndpoint& endpoint) {
  ASSIGN_OR_RETURN(std::unique_ptr<GpuMonitor> opened, GpuMonitor::Open(pci_bus_id));
  const std::shared_ptr<GpuMonitor> monitor = std::move(opened);
  endpoint.Add(std::make_shared<GpuMetrics>(
      monitor->identity(), [monitor] { return monitor->Read(); }, MonotonicClock()));
  return absl::OkStatus();
}

}  // namespace phalanx
