#include "worker/comm/net_exchange.h"

#include <algorithm>
#include <cstring>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status.h"
#include "worker/net/poll_until.h"

namespace phalanx {
namespace {

// A stream's error, as the contract of Communicator has it.
absl::Status PeerError(const absl::Status& status, int rank, const StreamSocket& stream) {
  if (absl::IsAborted(status)) return absl::AbortedError("the communicator was aborted");
  const std::string text =
      absl::StrCat("rank ", rank, " at ", stream.peer(), ": ", status.message());
  return absl::IsDataLoss(status) ? absl::InternalError(text) : absl::UnavailableError(text);
}

// The first of two spans in which something is left.
template <typename Span>
Span& First(Span (&spans)[2]) {
  return spans[0].empty() ? spans[1] : spans[0];
}

}  // namespace

NetExchange::NetExchange(const std::vector<StreamSocket*>& streams, absl::Duration spin)
    : spin_(spin), peers_(streams.size()), polled_(streams.size()) {
  for (size_t rank = 0; rank < streams.size(); ++rank) peers_[rank].stream = streams[rank];
}

void NetExchange::Send(int peer, absl::Span<const std::byte> frame,
                       absl::Span<const std::byte> body) {
  peers_[peer].out[0] = frame;
  peers_[peer].out[1] = body;
}

void NetExchange::Receive(int peer, absl::Span<std::byte> frame, absl::Span<std::byte> body) {
  peers_[peer].in[0] = frame;
  peers_[peer].in[1] = body;
  peers_[peer].frame = frame.data();
}

absl::StatusOr<bool> NetExchange::Advance(const NetFrame& expected, int rank) {
  Peer& peer = peers_[rank];
  bool moved = false;
  while (peer.sends()) {
    absl::Span<const std::byte>& out = First(peer.out);
    const absl::StatusOr<size_t> bytes = peer.stream->WriteSome(out);
    if (!bytes.ok()) return PeerError(bytes.status(), rank, *peer.stream);
    if (*bytes == 0) break;
    out.remove_prefix(*bytes);
    moved = true;
  }
  while (peer.receives()) {
    absl::Span<std::byte>& in = First(peer.in);
    const absl::StatusOr<size_t> bytes = peer.stream->ReadSome(in);
    if (!bytes.ok()) return PeerError(bytes.status(), rank, *peer.stream);
    if (*bytes == 0) break;
    in.remove_prefix(*bytes);
    moved = true;
    if (peer.frame != nullptr && (in.data() - peer.frame) >= ptrdiff_t{sizeof(NetFrame)}) {
      NetFrame frame;
      std::memcpy(&frame, peer.frame, sizeof(frame));
      RETURN_IF_ERROR(CheckFrame(expected, frame, rank));
      peer.frame = nullptr;
    }
  }
  return moved;
}

absl::StatusOr<bool> NetExchange::AdvanceAll(const NetFrame& expected) {
  bool moved = false;
  for (size_t rank = 0; rank < peers_.size(); ++rank) {
    ASSIGN_OR_RETURN(const bool one_moved, Advance(expected, static_cast<int>(rank)));
    moved |= one_moved;
  }
  return moved;
}

bool NetExchange::Done() const {
  return std::none_of(peers_.begin(), peers_.end(),
                      [](const Peer& peer) { return peer.sends() || peer.receives(); });
}

absl::Status NetExchange::Run(const NetFrame& expected, absl::Time deadline) {
  absl::Time idle_since = absl::InfinitePast();
  while (true) {
    ASSIGN_OR_RETURN(const bool moved, AdvanceAll(expected));
    if (moved && idle_since != absl::InfinitePast()) {
      wait_time_ += MonotonicClock()->Now() - idle_since;
      idle_since = absl::InfinitePast();
    }
    if (Done()) return absl::OkStatus();
    if (moved) continue;
    const absl::Time now = MonotonicClock()->Now();
    if (idle_since == absl::InfinitePast()) idle_since = now;
    if (now < std::min(idle_since + spin_, deadline)) {
      std::this_thread::yield();
      continue;
    }
    if (absl::Status status = Sleep(deadline); !status.ok()) {
      wait_time_ += MonotonicClock()->Now() - idle_since;
      return status;
    }
  }
}

absl::Status NetExchange::Sleep(absl::Time deadline) {
  for (size_t rank = 0; rank < peers_.size(); ++rank) {
    const Peer& peer = peers_[rank];
    pollfd& entry = polled_[rank];
    entry = {};
    if (peer.receives()) entry.events |= POLLIN;
    if (peer.sends()) entry.events |= POLLOUT;
    entry.fd = entry.events != 0 ? peer.stream->fd() : -1;
  }
  ASSIGN_OR_RETURN(const bool woken, PollUntil(absl::MakeSpan(polled_), deadline));
  return woken ? absl::OkStatus() : Late();
}

absl::Status NetExchange::Late() const {
  for (size_t rank = 0; rank < peers_.size(); ++rank) {
    if (peers_[rank].receives()) {
      return absl::DeadlineExceededError(
          absl::StrCat("rank ", rank, " did not come to a collective in time"));
    }
  }
  for (size_t rank = 0; rank < peers_.size(); ++rank) {
    if (peers_[rank].sends()) {
      return absl::DeadlineExceededError(
          absl::StrCat("rank ", rank, " did not take the data of a collective in time"));
    }
  }
  return absl::DeadlineExceededError("a collective took too long");
}

}  // namespace phalanx
