// Collectives over TCP: ranks with CPUs on several hosts.
//
// Built on streams of our own (worker/net) and not on Gloo, which Debian has in a version of
// 2022-05: it is built without TLS there, its messages pass through a thread of its own (67 us for
// 2.3 KB between two ranks by its unbound buffers and 200 to 4000 us by its all-reduce, where this
// takes 5 us: docs/benchmarks.md), and its all-reduce adds in an order that depends on the size.
#ifndef PHALANX_WORKER_COMM_NET_COMMUNICATOR_H_
#define PHALANX_WORKER_COMM_NET_COMMUNICATOR_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "base/mutex.h"
#include "base/unique_fd.h"
#include "worker/comm/communicator.h"
#include "worker/comm/net_exchange.h"
#include "worker/comm/net_frame.h"
#include "worker/comm/net_rendezvous.h"
#include "worker/comm/rank_order_sum.h"

namespace phalanx {

// There is a stream between each two ranks. In an exchange each rank sends to all others and
// receives from them at the same time, every message behind a frame that says what it is.
//
// Sums: for short messages each rank sends all of its data to all others and sums itself, which
// takes one exchange. For long ones each rank sums a part, which the others send it, and sends the
// sums to all: two exchanges, but fewer bytes. Both sum in rank order, so the bits are the same.
//
// A rank that fails or is aborted closes its streams, which ends the calls of the others with
// UNAVAILABLE within the time that a packet takes; so does the death of a process. A host that
// falls silent is known by the deadline of a call, and sooner by whoever watches over the group:
// TCP cannot tell it from a rank that is slow to take a long message. Ranks that do not make the
// same call get INTERNAL, which tells both calls.
//
// A call returns when its data is there, and for data that it sends, when the system has taken it.
// Calls do not allocate once the longest message has been sent.
class NetCommunicator final : public Communicator {
 public:
  struct Options {
    // How long a call waits for its peers, from the call on; the first one waits for all ranks to
    // come too.
    absl::Duration timeout = absl::Seconds(60);
    // How long a call looks for data again and again before it sleeps: waking up takes longer than
    // most exchanges. A rank that looks takes a core, but yields to whoever wants to run.
    absl::Duration spin = absl::Microseconds(50);
  };
  // Connects this rank to all others. Blocks, but not once `interrupt_fd` is readable.
  using Form = std::function<absl::StatusOr<NetMesh>(int interrupt_fd)>;

  // Returns at once: `form` runs on a thread of its own, and its error is that of the calls. Not
  // called for a rank that is alone. RESOURCE_EXHAUSTED if the system has no descriptors left.
  static absl::StatusOr<std::unique_ptr<NetCommunicator>> Create(int rank, int world, Form form,
                                                                 const Options& options);
  NetCommunicator(const NetCommunicator&) = delete;
  NetCommunicator& operator=(const NetCommunicator&) = delete;
  ~NetCommunicator() override;

  int rank() const override { return rank_; }
  int world() const override { return world_; }
  absl::Status AllReduceSum(kernels::Stream& stream, kernels::Tensor data) override;
  absl::Status AllReduceWords(kernels::Stream& stream, uint64_t* words, int64_t count,
                              WordOp op) override;
  absl::Status AllGatherWords(kernels::Stream& stream, const uint64_t* mine, int64_t count,
                              uint64_t* all) override;
  absl::Status Broadcast(kernels::Stream& stream, void* data, size_t bytes) override;
  absl::Status Barrier() override;
  uint64_t bytes_sent() const override { return bytes_sent_; }
  absl::Duration wait_time() const override;
  void Abort() override;

 private:
  using Bytes = absl::Span<std::byte>;
  using ConstBytes = absl::Span<const std::byte>;

  NetCommunicator(int rank, int world, const Options& options, UniqueFd abort_event);

  // What forming_ runs.
  void FormMesh(const Form& form);
  // The error of an earlier call, or ABORTED.
  absl::Status CheckAlive();
  // To be called before the exchanges of a collective, in which each rank has `bytes` of data.
  absl::Status Begin(NetCollective kind, uint64_t bytes);
  absl::Status AwaitFormed();
  // Takes over the streams of a group that is formed.
  void UseStreams(const std::vector<StreamSocket*>& streams);
  // Ends the communicator with `status`, and closes the streams.
  absl::Status Fail(absl::Status status);
  void AbortStreams();

  // What the next exchange does: `data` goes to `peer`, or is to come from there.
  void Send(int peer, ConstBytes data);
  void SendToAll(ConstBytes data);
  // Into memory of the exchange, until the next one. Returns where.
  const std::byte* Receive(int peer, size_t bytes);
  void ReceiveInto(int peer, Bytes data);
  absl::Status Exchange();

  absl::Status AllReduce(Reduction reduction, void* data, int64_t count);
  absl::Status ReduceDirectly(Reduction reduction, std::byte* data, int64_t count);
  absl::Status ReduceByParts(Reduction reduction, std::byte* data, int64_t count);

  const int rank_;
  const int world_;
  const Options options_;
  const UniqueFd abort_event_;  // Readable after Abort.
  std::atomic<bool> aborted_ = false;

  Mutex mutex_;
  CondVar changed_;
  // What `form` has returned.
  absl::optional<absl::StatusOr<NetMesh>> mesh_ GUARDED_BY(mutex_);

  // Engine thread only from here on.
  absl::Status status_;
  // Null until the ranks are connected.
  std::unique_ptr<NetExchange> exchange_;
  NetFrame frame_;                                // Of the exchange that runs or comes next.
  absl::Time deadline_;                           // Of the call.
  std::vector<std::byte> outgoing_;               // A frame, and short data behind it.
  std::vector<std::vector<std::byte>> incoming_;  // [world]: a frame and data.
  std::vector<const std::byte*> parts_;           // [world]: what is to be summed.
  uint64_t bytes_sent_ = 0;

  std::thread forming_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_COMM_NET_COMMUNICATOR_H_
