#include "worker/comm/net_rendezvous.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "worker/comm/host_for_others.h"
#include "worker/net/poll_until.h"

namespace phalanx {
namespace {

// More connections than that which have not said hello do not wait at a time.
constexpr size_t kMaxGuests = 64;
// How long nobody is accepted after the system could not.
constexpr absl::Duration kAcceptPause = absl::Milliseconds(100);

void TurnAway(const StreamSocket& stream, const absl::Status& reason) {
  LOG(WARNING) << "a connection from " << stream.peer()
               << " to the ranks' collectives is turned away: " << reason.message();
}

absl::Status Annotate(const absl::Status& status, int rank, absl::string_view address) {
  if (absl::IsCancelled(status)) return status;
  return absl::UnavailableError(
      absl::StrCat("rank ", rank, " at ", address, ": ", status.message()));
}

// Where others reach whoever is at the other end; empty for a loopback address.
absl::StatusOr<std::string> PeerHost(const StreamSocket& stream) {
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  if (getpeername(stream.fd(), reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    return absl::UnavailableError("its address is not known");
  }
  return HostForOthers(address);
}

}  // namespace

absl::StatusOr<std::unique_ptr<NetRendezvous>> NetRendezvous::Create(Options options) {
  CHECK(options.rank >= 0 && options.rank < options.world && options.world > 1)
      << options.rank << " of " << options.world;
  ASSIGN_OR_RETURN(
      StreamListener listener,
      StreamListener::Create({.host = options.listen_host, .port = 0}, options.credentials));
  return std::unique_ptr<NetRendezvous>(new NetRendezvous(std::move(options), std::move(listener)));
}

NetRendezvous::NetRendezvous(Options options, StreamListener listener)
    : options_(std::move(options)),
      listener_(std::move(listener)),
      addresses_(options_.world),
      table_((options_.world - 1) * kNetAddressBytes) {
  std::memcpy(&mesh_.group, options_.nonce.data(), sizeof(mesh_.group));
  mesh_.streams.resize(options_.world);
}

bool NetRendezvous::IsComplete() const {
  if (options_.rank > 0 && table_bytes_ < table_.size()) return false;
  // Only this rank has no stream.
  return std::count(mesh_.streams.begin(), mesh_.streams.end(), nullptr) == 1;
}

absl::StatusOr<NetMesh> NetRendezvous::Form(int interrupt_fd) {
  if (options_.rank > 0) RETURN_IF_ERROR(ConnectTo(0, options_.leader, interrupt_fd));
  while (true) {
    if (options_.rank > 0) RETURN_IF_ERROR(ReadTable(interrupt_fd));
    if (IsComplete()) break;
    ASSIGN_OR_RETURN(const bool guest_waits, Await(interrupt_fd));
    if (guest_waits) AcceptGuest();
    HearGuests();
  }
  if (options_.rank == 0) RETURN_IF_ERROR(SendTable());
  return std::move(mesh_);
}

absl::Status NetRendezvous::ConnectTo(int rank, const HostPort& address, int interrupt_fd) {
  const absl::Time deadline = MonotonicClock()->Now() + options_.connect_limit;
  absl::StatusOr<std::unique_ptr<StreamSocket>> stream = StreamSocket::Connect(
      address, options_.credentials, deadline, interrupt_fd, StreamSocket::IfRefused::kFail);
  if (!stream.ok()) return Annotate(stream.status(), rank, address.ToString());
  const NetHelloBytes hello = EncodeNetHello({.nonce = options_.nonce,
                                              .rank = options_.rank,
                                              .world = options_.world,
                                              .port = listener_.port()});
  if (absl::Status status = (*stream)->Write(hello, deadline); !status.ok()) {
    return Annotate(status, rank, address.ToString());
  }
  mesh_.streams[rank] = *std::move(stream);
  return absl::OkStatus();
}

absl::StatusOr<bool> NetRendezvous::Await(int interrupt_fd) {
  const absl::Time now = MonotonicClock()->Now();
  std::vector<pollfd> fds = {{.fd = interrupt_fd, .events = POLLIN, .revents = 0}};
  absl::Time until = absl::InfiniteFuture();
  const bool accepts = now >= accept_after_;
  if (!accepts) until = accept_after_;
  fds.push_back({.fd = accepts ? listener_.fd() : -1, .events = POLLIN, .revents = 0});
  for (const Guest& guest : guests_) {
    fds.push_back({.fd = guest.stream->fd(), .events = POLLIN, .revents = 0});
    until = std::min(until, guest.deadline);
  }
  const size_t first_seated = fds.size();
  for (size_t rank = 0; rank < mesh_.streams.size(); ++rank) {
    const StreamSocket* const stream = mesh_.streams[rank].get();
    // Rank 0 sends its table. Beyond that nothing is read here: it may belong to a collective
    // already.
    const bool awaits_table = rank == 0 && table_bytes_ < table_.size();
    fds.push_back({.fd = stream != nullptr ? stream->fd() : -1,
                   .events = static_cast<short>(awaits_table ? POLLIN : POLLRDHUP),
                   .revents = 0});
  }
  RETURN_IF_ERROR(PollUntil(absl::MakeSpan(fds), until).status());
  if (fds[0].revents != 0) return absl::CancelledError("forming the group was interrupted");
  for (size_t rank = 0; rank < mesh_.streams.size(); ++rank) {
    if ((fds[first_seated + rank].revents & (POLLRDHUP | POLLERR | POLLHUP)) != 0) {
      return Annotate(absl::UnavailableError("it left while the group was formed"),
                      static_cast<int>(rank), mesh_.streams[rank]->peer());
    }
  }
  return fds[1].revents != 0;
}

void NetRendezvous::AcceptGuest() {
  const absl::Time now = MonotonicClock()->Now();
  absl::StatusOr<std::unique_ptr<StreamSocket>> stream = listener_.Accept();
  if (!stream.ok()) {
    // The system may have too few descriptors, which shows as somebody who waits for ever.
    accept_after_ = now + kAcceptPause;
    return;
  }
  if (guests_.size() == kMaxGuests) {
    TurnAway(*guests_.front().stream, absl::UnavailableError("too many wait to be heard"));
    guests_.pop_front();
  }
  guests_.push_back({.stream = *std::move(stream), .deadline = now + options_.stranger_limit});
}

void NetRendezvous::HearGuests() {
  const absl::Time now = MonotonicClock()->Now();
  std::deque<Guest> guests = std::exchange(guests_, {});
  for (Guest& guest : guests) {
    const absl::StatusOr<bool> complete = Hear(guest);
    absl::Status status = complete.status();
    if (status.ok() && *complete) {
      status = Seat(guest);
      if (status.ok()) continue;
    } else if (status.ok() && now >= guest.deadline) {
      status = absl::DeadlineExceededError("it did not say in time who it is");
    }
    if (status.ok()) {
      guests_.push_back(std::move(guest));
    } else {
      TurnAway(*guest.stream, status);
    }
  }
}

absl::StatusOr<bool> NetRendezvous::Hear(Guest& guest) {
  while (guest.hello_bytes < guest.hello.size()) {
    ASSIGN_OR_RETURN(
        const size_t bytes,
        guest.stream->ReadSome(absl::MakeSpan(guest.hello).subspan(guest.hello_bytes)));
    if (bytes == 0) return false;
    guest.hello_bytes += bytes;
  }
  return true;
}

absl::Status NetRendezvous::Seat(Guest& guest) {
  ASSIGN_OR_RETURN(const NetHello hello,
                   DecodeNetHello(guest.hello, options_.nonce, options_.world));
  if (hello.rank <= options_.rank) {
    return absl::InvalidArgumentError(
        absl::StrCat("rank ", hello.rank, " is not to connect to ", options_.rank));
  }
  std::unique_ptr<StreamSocket>& seat = mesh_.streams[hello.rank];
  if (seat != nullptr) {
    return absl::AlreadyExistsError(
        absl::StrCat("it says that it is rank ", hello.rank, ", which is at ", seat->peer()));
  }
  if (options_.rank == 0) {
    ASSIGN_OR_RETURN(std::string host, PeerHost(*guest.stream));
    addresses_[hello.rank] = {.host = std::move(host), .port = hello.port};
  }
  seat = std::move(guest.stream);
  return absl::OkStatus();
}

absl::Status NetRendezvous::SendTable() {
  for (int rank = 1; rank < options_.world; ++rank) {
    EncodeNetAddress(addresses_[rank], absl::MakeSpan(table_).subspan((rank - 1) * kNetAddressBytes,
                                                                      kNetAddressBytes));
  }
  const absl::Time deadline = MonotonicClock()->Now() + options_.connect_limit;
  for (int rank = 1; rank < options_.world; ++rank) {
    StreamSocket& stream = *mesh_.streams[rank];
    if (absl::Status status = stream.Write(table_, deadline); !status.ok()) {
      return Annotate(status, rank, stream.peer());
    }
  }
  return absl::OkStatus();
}

absl::Status NetRendezvous::ReadTable(int interrupt_fd) {
  StreamSocket& leader = *mesh_.streams[0];
  if (table_bytes_ == table_.size()) return absl::OkStatus();
  while (table_bytes_ < table_.size()) {
    const absl::StatusOr<size_t> bytes =
        leader.ReadSome(absl::MakeSpan(table_).subspan(table_bytes_));
    if (!bytes.ok()) return Annotate(bytes.status(), 0, leader.peer());
    if (*bytes == 0) return absl::OkStatus();
    table_bytes_ += *bytes;
  }
  for (int rank = 1; rank < options_.rank; ++rank) {
    ASSIGN_OR_RETURN(HostPort address, DecodeNetAddress(absl::MakeSpan(table_).subspan(
                                           (rank - 1) * kNetAddressBytes, kNetAddressBytes)));
    if (address.host.empty()) address.host = options_.leader.host;
    RETURN_IF_ERROR(ConnectTo(rank, address, interrupt_fd));
  }
  return absl::OkStatus();
}

}  // namespace phalanx
