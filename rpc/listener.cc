#include "rpc/listener.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/errno_text.h"
#include "base/listen_socket.h"
#include "base/log.h"
#include "base/status.h"
#include "prometheus/counter.h"
#include "rpc/receive_hook.h"
#include "rpc/request_filter.h"

namespace phalanx {
namespace {

// How many descriptors are kept for files, worker groups and metrics, if there are enough.
constexpr rlim_t kMostReserved = 64;
// The pause after an error that may pass, such as having no descriptors at all.
constexpr int kPauseMs = 50;
constexpr absl::Duration kLogInterval = absl::Minutes(1);

// The first descriptor that is not for connections. The kernel gives the lowest number that is
// free, so a number tells how many are in use.
int FirstReservedDescriptor() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1 << 20;
  const rlim_t most = std::min<rlim_t>(limit.rlim_cur, 1 << 30);
  return static_cast<int>(most - std::min(kMostReserved, most / 4));
}

prometheus::Counter& MakeCounter(prometheus::Registry& registry, const char* name,
                                 const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add({});
}

// Sets what gRPC sets on connections that it accepts itself.
void TuneSocket(int fd) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

}  // namespace

void RaiseDescriptorLimit() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) LOG(WARNING) << "cannot raise the limit of open files";
}

class Listener::Impl {
 public:
  Impl(ListenSocket socket, int64_t max_message_bytes, prometheus::Registry& registry)
      : socket_(socket),
        max_message_bytes_(max_message_bytes),
        stop_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        first_reserved_(FirstReservedDescriptor()),
        accepted_(MakeCounter(registry, "phalanx_connections_accepted_total",
                              "Connections that were given to the gRPC server.")),
        refused_(
            MakeCounter(registry, "phalanx_connections_refused_total",
                        "Connections that were closed at once, because descriptors are short.")),
        cut_(MakeCounter(registry, "phalanx_connections_cut_total",
                         "Connections that were cut off for what no honest client sends, such as "
                         "headers without an end.")) {
    CHECK(stop_fd_ >= 0) << "eventfd: " << ErrnoText(errno);
  }
  ~Impl() {
    Stop();
    close(stop_fd_);
  }

  int port() const { return socket_.port; }
  int64_t refused() const { return static_cast<int64_t>(refused_.Value()); }

  void Attach(grpc::ServerBuilder& builder) {
    acceptor_ = builder.experimental().AddExternalConnectionAcceptor(
        grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
        grpc::InsecureServerCredentials());
  }

  void Start() {
    thread_ = std::thread([this] { Run(); });
  }

  void Stop() {
    if (thread_.joinable()) {
      const uint64_t one = 1;
      CHECK(write(stop_fd_, &one, sizeof(one)) == sizeof(one)) << ErrnoText(errno);
      thread_.join();
    }
    if (socket_.fd >= 0) close(std::exchange(socket_.fd, -1));
  }

 private:
  void Run() {
    // During a pause only stop_fd_ is polled. The socket may be readable all the time, and would
    // keep the thread busy.
    int pause_ms = 0;
    while (true) {
      pollfd polled[] = {{stop_fd_, POLLIN, 0}, {socket_.fd, POLLIN, 0}};
      const int ready = poll(polled, pause_ms > 0 ? 1 : 2, pause_ms > 0 ? pause_ms : -1);
      if (polled[0].revents != 0) return;
      pause_ms = ready < 0 && errno != EINTR ? kPauseMs : 0;
      if (pause_ms == 0 && !AcceptAll()) pause_ms = kPauseMs;
    }
  }

  // Returns false if there is a reason to wait before trying again.
  bool AcceptAll() {
    while (true) {
      const int fd = accept4(socket_.fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (fd >= 0) {
        TakeOrRefuse(fd);
        continue;
      }
      switch (errno) {
        case EAGAIN:
          return true;
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
        case ENOMEM:
          LogShortage(ErrnoText(errno));
          return false;
        case ECONNABORTED:
        case EINTR:
          // ECONNABORTED: the connection was gone before it was accepted.
          continue;
        default:
          LogShortage(ErrnoText(errno));
          return false;
      }
    }
  }

  void TakeOrRefuse(int fd) {
    if (fd >= first_reserved_) {
      close(fd);
      refused_.Increment();
      LogShortage("the open files that are allowed (ulimit -n) are nearly used up");
      return;
    }
    TuneSocket(fd);
    accepted_.Increment();
    FilterRequests(fd);
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
    connection.fd = fd;
    acceptor_->HandleNewConnection(&connection);
  }

  // Connections, and with them their filters, may outlive this object: so the filter does not use
  // it, only what belongs to the registry.
  void FilterRequests(int fd) const {
    const auto filter = std::make_shared<RequestFilter>(max_message_bytes_);
    SetReceiveFilter(fd, [filter, &cut = cut_, port = socket_.port](absl::Span<char> bytes) {
      if (filter->Filter(bytes)) return true;
      cut.Increment();
      LOG(WARNING) << "port " << port << " cuts a connection off: " << filter->reason();
      return false;
    });
  }

  void LogShortage(const std::string& reason) {
    const absl::Time now = MonotonicClock()->Now();
    if (now - last_log_ < kLogInterval) return;
    last_log_ = now;
    LOG(WARNING) << "port " << socket_.port << " refuses connections: " << reason;
  }

  ListenSocket socket_;
  const int64_t max_message_bytes_;
  const int stop_fd_;
  const int first_reserved_;
  prometheus::Counter& accepted_;
  prometheus::Counter& refused_;
  prometheus::Counter& cut_;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor_;
  // Used by thread_ only.
  absl::Time last_log_ = absl::InfinitePast();
  std::thread thread_;
};

absl::StatusOr<std::unique_ptr<Listener>> Listener::Listen(const HostPort& address,
                                                           int64_t max_message_bytes,
                                                           prometheus::Registry& registry) {
  ASSIGN_OR_RETURN(const ListenSocket socket, phalanx::Listen(address));
  return std::unique_ptr<Listener>(
      new Listener(std::make_unique<Impl>(socket, max_message_bytes, registry)));
}

Listener::Listener(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Listener::~Listener() = default;

int Listener::port() const { return impl_->port(); }

int64_t Listener::refused() const { return impl_->refused(); }

void Listener::Attach(grpc::ServerBuilder& builder) { impl_->Attach(builder); }

void Listener::Start() { impl_->Start(); }

void Listener::Stop() { impl_->Stop(); }

}  // namespace phalanx
