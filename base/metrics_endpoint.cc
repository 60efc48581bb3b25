#include "base/metrics_endpoint.h"

#include <microhttpd.h>

#include <iterator>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/listen_socket.h"
#include "prometheus/metric_family.h"
#include "prometheus/text_serializer.h"

namespace phalanx {
namespace {

// Far more than scrapers need, and far fewer than a process has descriptors.
constexpr unsigned kMaxConnections = 128;
// A connection on which nothing has been sent for this long is closed.
constexpr unsigned kIdleSeconds = 5;
// Limit on the request line and the headers together.
constexpr size_t kMaxRequestBytes = 16 << 10;

MHD_Result Respond(MHD_Connection* connection, unsigned code, const std::string& body,
                   const char* content_type) {
  MHD_Response* const response = MHD_create_response_from_buffer(
      body.size(), const_cast<char*>(body.data()), MHD_RESPMEM_MUST_COPY);
  if (response == nullptr) return MHD_NO;
  MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
  if (code == MHD_HTTP_METHOD_NOT_ALLOWED) {
    MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
  }
  const MHD_Result result = MHD_queue_response(connection, code, response);
  MHD_destroy_response(response);
  return result;
}

MHD_Result Answer(void* endpoint, MHD_Connection* connection, const char* url, const char* method,
                  const char*, const char*, size_t*, void**) {
  const absl::string_view verb = method;
  if (verb != MHD_HTTP_METHOD_GET && verb != MHD_HTTP_METHOD_HEAD) {
    return Respond(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET\n", "text/plain");
  }
  if (absl::string_view(url) != "/metrics") {
    return Respond(connection, MHD_HTTP_NOT_FOUND, "the page is /metrics\n", "text/plain");
  }
  return Respond(connection, MHD_HTTP_OK, static_cast<const MetricsEndpoint*>(endpoint)->Page(),
                 "text/plain; version=0.0.4; charset=utf-8");
}

}  // namespace

prometheus::Histogram::BucketBoundaries RequestLatencyBuckets() {
  return {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
          1,     2.5,    5,     10,   25,    60,   120, 300,  600};
}

prometheus::Histogram::BucketBoundaries StepLatencyBuckets() {
  return {1e-6, 2.5e-6, 5e-6,   1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3,
          5e-3, 1e-2,   2.5e-2, 5e-2, 0.1,    0.25, 0.5,  1,      2.5,  5,    10};
}

absl::StatusOr<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::Create(
    const HostPort& address, const std::string& program,
    std::shared_ptr<prometheus::Registry> registry) {
  absl::StatusOr<ListenSocket> socket = Listen(address);
  if (!socket.ok()) {
    return absl::UnavailableError(
        absl::StrCat("no /metrics page: ", socket.status().message(), " (--metrics_listen)"));
  }
  std::unique_ptr<MetricsEndpoint> endpoint(
      new MetricsEndpoint(socket->port, program, std::move(registry)));
  endpoint->daemon_ = MHD_start_daemon(
      MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC, /*port=*/0, /*apc=*/nullptr, nullptr, Answer,
      endpoint.get(), MHD_OPTION_LISTEN_SOCKET, socket->fd, MHD_OPTION_CONNECTION_LIMIT,
      kMaxConnections, MHD_OPTION_CONNECTION_TIMEOUT, kIdleSeconds,
      MHD_OPTION_CONNECTION_MEMORY_LIMIT, kMaxRequestBytes, MHD_OPTION_END);
  if (endpoint->daemon_ == nullptr) {
    return absl::UnavailableError(absl::StrCat("no /metrics page on ", address.ToString(),
                                               ": no thread or descriptor for it"));
  }
  return endpoint;
}

MetricsEndpoint::MetricsEndpoint(int port, const std::string& program,
                                 std::shared_ptr<prometheus::Registry> registry)
    : port_(port), registry_(std::move(registry)), process_(program) {}

MetricsEndpoint::~MetricsEndpoint() {
  if (daemon_ != nullptr) MHD_stop_daemon(daemon_);
}

void MetricsEndpoint::Add(std::shared_ptr<const prometheus::Collectable> collectable) {
  MutexLock lock(&mutex_);
  added_.push_back(std::move(collectable));
}

std::string MetricsEndpoint::Page() const {
  std::vector<prometheus::MetricFamily> families = process_.Collect();
  const auto append = [&families](std::vector<prometheus::MetricFamily> more) {
    families.insert(families.end(), std::make_move_iterator(more.begin()),
                    std::make_move_iterator(more.end()));
  };
  append(registry_->Collect());
  std::vector<std::shared_ptr<const prometheus::Collectable>> added;
  {
    MutexLock lock(&mutex_);
    added = added_;
  }
  for (const auto& collectable : added) append(collectable->Collect());
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace phalanx
