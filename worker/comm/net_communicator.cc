#include "worker/comm/net_communicator.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/errno_text.h"
#include "base/log.h"
#include "base/status.h"

namespace phalanx {
namespace {

// Data up to this length is copied behind its frame, so that both are one packet and one call of
// the system.
constexpr size_t kShortBytes = size_t{16} << 10;
// Longer data goes in several exchanges, so that no rank keeps more than this for each peer. A
// multiple of every element's size.
constexpr size_t kPieceBytes = size_t{512} << 10;
// What a link carries in the time that an exchange takes however short it is: about 30 us at 10
// Gbit/s.
constexpr uint64_t kBytesPerLatency = 32 << 10;

// Whether it takes less time to sum a part on each rank and exchange the sums than to send all to
// all. Of n bytes each rank then sends 2 (w - 1) n / w in place of (w - 1) n, and waits once more.
bool IsFasterByParts(uint64_t bytes, uint64_t world) {
  return bytes * (world - 1) * (world - 2) / world > kBytesPerLatency;
}

// A rank that computes for long does not read, and its peer's data waits in the system. Without
// this the limit for a host that has fallen silent would break the connection.
void SetUnreadLimit(int fd, absl::Duration limit) {
  const absl::Duration most = absl::Milliseconds(std::numeric_limits<int>::max());
  const auto milliseconds = static_cast<int>(absl::ToInt64Milliseconds(std::min(limit, most)));
  // Not possible, and not needed, for sockets that are not of TCP.
  setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &milliseconds, sizeof(milliseconds));
}

NetCollective KindOf(Reduction reduction) {
  switch (reduction) {
    case Reduction::kSumF32:
      return NetCollective::kSumF32;
    case Reduction::kSumBF16:
      return NetCollective::kSumBF16;
    case Reduction::kSumWords:
      return NetCollective::kSumWords;
    case Reduction::kMaxWords:
      break;
  }
  return NetCollective::kMaxWords;
}

}  // namespace

absl::StatusOr<std::unique_ptr<NetCommunicator>> NetCommunicator::Create(int rank, int world,
                                                                         Form form,
                                                                         const Options& options) {
  CHECK(rank >= 0 && rank < world) << rank << " of " << world;
  UniqueFd abort_event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (abort_event.get() < 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot make an event for a communicator: ", ErrnoText(errno)));
  }
  std::unique_ptr<NetCommunicator> communicator(
      new NetCommunicator(rank, world, options, std::move(abort_event)));
  if (world > 1) {
    communicator->forming_ =
        std::thread([self = communicator.get(), form = std::move(form)] { self->FormMesh(form); });
  }
  return communicator;
}

NetCommunicator::NetCommunicator(int rank, int world, const Options& options, UniqueFd abort_event)
    : rank_(rank),
      world_(world),
      options_(options),
      abort_event_(std::move(abort_event)),
      outgoing_(sizeof(NetFrame) + kShortBytes),
      incoming_(world),
      parts_(world) {
  for (std::vector<std::byte>& incoming : incoming_) {
    incoming.resize(sizeof(NetFrame) + kShortBytes);
  }
}

NetCommunicator::~NetCommunicator() {
  Abort();
  if (forming_.joinable()) forming_.join();
}

void NetCommunicator::FormMesh(const Form& form) {
  absl::StatusOr<NetMesh> mesh = form(abort_event_.get());
  {
    MutexLock lock(&mutex_);
    mesh_ = std::move(mesh);
    changed_.SignalAll();
  }
  // Abort may have come before there was anything to close.
  if (aborted_) AbortStreams();
}

void NetCommunicator::Abort() {
  aborted_ = true;
  const uint64_t one = 1;
  // Fails only when the event is readable already.
  [[maybe_unused]] const ssize_t written = write(abort_event_.get(), &one, sizeof(one));
  AbortStreams();
  changed_.SignalAll();
}

void NetCommunicator::AbortStreams() {
  MutexLock lock(&mutex_);
  if (!mesh_.has_value() || !mesh_->ok()) return;
  for (const std::unique_ptr<StreamSocket>& stream : (*mesh_)->streams) {
    if (stream != nullptr) stream->Abort();
  }
}

absl::Status NetCommunicator::Fail(absl::Status status) {
  status_ = std::move(status);
  AbortStreams();
  return status_;
}

absl::Status NetCommunicator::CheckAlive() {
  if (status_.ok() && aborted_) return Fail(absl::AbortedError("the communicator was aborted"));
  return status_;
}

absl::Status NetCommunicator::AwaitFormed() {
  std::vector<StreamSocket*> streams;
  {
    MutexLock lock(&mutex_);
    while (!mesh_.has_value() && !aborted_) {
      const absl::Duration left = deadline_ - MonotonicClock()->Now();
      if (left <= absl::ZeroDuration()) break;
      changed_.WaitFor(&mutex_, left);
    }
    if (mesh_.has_value() && mesh_->ok()) {
      frame_.group = (*mesh_)->group;
      for (const auto& stream : (*mesh_)->streams) streams.push_back(stream.get());
    } else if (mesh_.has_value() && !aborted_) {
      status_ = mesh_->status();
      return status_;
    }
  }
  RETURN_IF_ERROR(CheckAlive());
  if (streams.empty()) {
    // Nobody is to find this rank any more.
    status_ = absl::DeadlineExceededError(absl::StrCat("not all of ", world_,
                                                       " ranks came to form a communicator within ",
                                                       absl::FormatDuration(options_.timeout)));
    Abort();
    return status_;
  }
  UseStreams(streams);
  return absl::OkStatus();
}

void NetCommunicator::UseStreams(const std::vector<StreamSocket*>& streams) {
  for (StreamSocket* const stream : streams) {
    if (stream != nullptr) SetUnreadLimit(stream->fd(), options_.timeout);
  }
  exchange_ = std::make_unique<NetExchange>(streams, options_.spin);
}

absl::Status NetCommunicator::Begin(NetCollective kind, uint64_t bytes) {
  deadline_ = MonotonicClock()->Now() + options_.timeout;
  if (exchange_ == nullptr) RETURN_IF_ERROR(AwaitFormed());
  ++frame_.sequence;
  frame_.kind = kind;
  frame_.bytes = bytes;
  frame_.exchange = 0;
  std::memcpy(outgoing_.data(), &frame_, sizeof(frame_));
  return absl::OkStatus();
}

void NetCommunicator::Send(int peer, ConstBytes data) {
  exchange_->Send(peer, ConstBytes(outgoing_).first(sizeof(NetFrame)), data);
}

void NetCommunicator::SendToAll(ConstBytes data) {
  ConstBytes frame = ConstBytes(outgoing_).first(sizeof(NetFrame));
  if (data.size() <= kShortBytes) {
    std::copy(data.begin(), data.end(), outgoing_.begin() + sizeof(NetFrame));
    frame = ConstBytes(outgoing_).first(sizeof(NetFrame) + data.size());
    data = {};
  }
  for (int peer = 0; peer < world_; ++peer) {
    if (peer != rank_) exchange_->Send(peer, frame, data);
  }
}

const std::byte* NetCommunicator::Receive(int peer, size_t bytes) {
  std::vector<std::byte>& incoming = incoming_[peer];
  const size_t all_bytes = sizeof(NetFrame) + bytes;
  if (incoming.size() < all_bytes) incoming.resize(all_bytes);
  exchange_->Receive(peer, Bytes(incoming.data(), all_bytes));
  return incoming.data() + sizeof(NetFrame);
}

void NetCommunicator::ReceiveInto(int peer, Bytes data) {
  exchange_->Receive(peer, Bytes(incoming_[peer].data(), sizeof(NetFrame)), data);
}

absl::Status NetCommunicator::Exchange() {
  if (absl::Status status = exchange_->Run(frame_, deadline_); !status.ok()) {
    return Fail(std::move(status));
  }
  ++frame_.exchange;
  std::memcpy(outgoing_.data(), &frame_, sizeof(frame_));
  return absl::OkStatus();
}

absl::Status NetCommunicator::AllReduce(Reduction reduction, void* data, int64_t count) {
  RETURN_IF_ERROR(CheckAlive());
  if (world_ == 1 || count == 0) return absl::OkStatus();
  const uint64_t bytes = count * ElementBytes(reduction);
  RETURN_IF_ERROR(Begin(KindOf(reduction), bytes));
  bytes_sent_ += bytes;
  auto* const first = static_cast<std::byte*>(data);
  return IsFasterByParts(bytes, world_) ? ReduceByParts(reduction, first, count)
                                        : ReduceDirectly(reduction, first, count);
}

absl::Status NetCommunicator::ReduceDirectly(Reduction reduction, std::byte* data, int64_t count) {
  const size_t element_bytes = ElementBytes(reduction);
  while (count > 0) {
    const auto piece = std::min(count, static_cast<int64_t>(kPieceBytes / element_bytes));
    const size_t bytes = piece * element_bytes;
    SendToAll({data, bytes});
    for (int peer = 0; peer < world_; ++peer) {
      parts_[peer] = peer == rank_ ? data : Receive(peer, bytes);
    }
    RETURN_IF_ERROR(Exchange());
    ReduceInRankOrder(reduction, parts_, piece, data);
    data += bytes;
    count -= piece;
  }
  return absl::OkStatus();
}

absl::Status NetCommunicator::ReduceByParts(Reduction reduction, std::byte* data, int64_t count) {
  const size_t element_bytes = ElementBytes(reduction);
  const auto most = static_cast<int64_t>(world_ * (kPieceBytes / element_bytes));
  while (count > 0) {
    const int64_t piece = std::min(count, most);
    // The part of the piece that a rank sums.
    const auto part = [&](int rank) {
      const int64_t begin = piece * rank / world_;
      const int64_t end = piece * (rank + 1) / world_;
      return Bytes(data + begin * element_bytes, (end - begin) * element_bytes);
    };
    const Bytes mine = part(rank_);
    for (int peer = 0; peer < world_; ++peer) {
      if (peer != rank_) Send(peer, part(peer));
      parts_[peer] = peer == rank_ ? mine.data() : Receive(peer, mine.size());
    }
    RETURN_IF_ERROR(Exchange());
    ReduceInRankOrder(reduction, parts_, static_cast<int64_t>(mine.size() / element_bytes),
                      mine.data());
    SendToAll(mine);
    for (int peer = 0; peer < world_; ++peer) {
      if (peer != rank_) ReceiveInto(peer, part(peer));
    }
    RETURN_IF_ERROR(Exchange());
    data += piece * element_bytes;
    count -= piece;
  }
  return absl::OkStatus();
}

absl::Status NetCommunicator::AllReduceSum(kernels::Stream&, kernels::Tensor data) {
  return AllReduce(SumOf(data.dtype), data.data, data.rows * data.cols);
}

absl::Status NetCommunicator::AllReduceWords(kernels::Stream&, uint64_t* words, int64_t count,
                                             WordOp op) {
  return AllReduce(ReductionOf(op), words, count);
}

absl::Status NetCommunicator::AllGatherWords(kernels::Stream&, const uint64_t* mine, int64_t count,
                                             uint64_t* all) {
  RETURN_IF_ERROR(CheckAlive());
  std::copy_n(mine, count, all + rank_ * count);
  if (world_ == 1 || count == 0) return absl::OkStatus();
  const size_t bytes = count * sizeof(uint64_t);
  RETURN_IF_ERROR(Begin(NetCollective::kGatherWords, bytes));
  bytes_sent_ += bytes;
  SendToAll({reinterpret_cast<const std::byte*>(mine), bytes});
  for (int peer = 0; peer < world_; ++peer) {
    if (peer != rank_) {
      ReceiveInto(peer, {reinterpret_cast<std::byte*>(all + peer * count), bytes});
    }
  }
  return Exchange();
}

absl::Status NetCommunicator::Broadcast(kernels::Stream&, void* data, size_t bytes) {
  RETURN_IF_ERROR(CheckAlive());
  if (world_ == 1 || bytes == 0) return absl::OkStatus();
  RETURN_IF_ERROR(Begin(NetCollective::kBroadcast, bytes));
  const Bytes all(static_cast<std::byte*>(data), bytes);
  if (rank_ == 0) {
    bytes_sent_ += bytes;
    SendToAll(all);
  } else {
    ReceiveInto(0, all);
  }
  return Exchange();
}

absl::Status NetCommunicator::Barrier() {
  RETURN_IF_ERROR(CheckAlive());
  if (world_ == 1) return absl::OkStatus();
  RETURN_IF_ERROR(Begin(NetCollective::kBarrier, 0));
  SendToAll({});
  for (int peer = 0; peer < world_; ++peer) {
    if (peer != rank_) Receive(peer, 0);
  }
  return Exchange();
}

absl::Duration NetCommunicator::wait_time() const {
  return exchange_ != nullptr ? exchange_->wait_time() : absl::ZeroDuration();
}

}  // namespace phalanx
