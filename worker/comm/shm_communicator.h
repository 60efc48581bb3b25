// Collectives through memory that the ranks share: processes of one host, or threads in tests.
#ifndef PHALANX_WORKER_COMM_SHM_COMMUNICATOR_H_
#define PHALANX_WORKER_COMM_SHM_COMMUNICATOR_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "worker/comm/communicator.h"
#include "worker/comm/communicator_segment.h"
#include "worker/comm/rank_order_sum.h"

namespace phalanx {

// Every rank copies its data into the segment, waits for all, and reads what it needs of the
// others' data. One exchange suits the few ranks and small messages of a decode step, whose cost is
// latency and not bytes. Sums add in rank order. No call allocates. After a failure the segment is
// aborted, so that peers do not wait for their own timeouts.
class ShmCommunicator final : public Communicator {
 public:
  struct Options {
    // How long a call waits for a peer.
    absl::Duration timeout = absl::Seconds(60);
    // Turns of the waiting loop before it sleeps; about 40 ns each. A rank that sleeps costs its
    // peers a system call, a rank that spins costs everybody else the core.
    int spins = 1000;
  };

  // `rank` is in [0, segment->world()); each rank of a segment is taken once.
  ShmCommunicator(std::shared_ptr<CommunicatorSegment> segment, int rank, const Options& options);

  int rank() const override { return rank_; }
  int world() const override { return segment_->world(); }
  absl::Status AllReduceSum(kernels::Stream& stream, kernels::Tensor data) override;
  absl::Status AllReduceWords(kernels::Stream& stream, uint64_t* words, int64_t count,
                              WordOp op) override;
  absl::Status AllGatherWords(kernels::Stream& stream, const uint64_t* mine, int64_t count,
                              uint64_t* all) override;
  absl::Status Broadcast(kernels::Stream& stream, void* data, size_t bytes) override;
  absl::Status Barrier() override;
  uint64_t bytes_sent() const override { return bytes_sent_; }
  absl::Duration wait_time() const override { return wait_time_; }
  void Abort() override { segment_->Abort(); }

 private:
  // The error of an earlier call, or ABORTED.
  absl::Status CheckAlive();
  // Says that this rank's data is in place and waits for the others'.
  absl::Status Exchange();
  // The data of `rank` in the exchange that runs or comes next.
  std::byte* Data(int rank) const { return segment_->Data(rank, exchange_ + 1); }
  // Puts `bytes` of data in place for the next exchange.
  void Put(const void* data, size_t bytes);
  absl::Status AllReduce(Reduction reduction, void* data, int64_t count);

  const std::shared_ptr<CommunicatorSegment> segment_;
  const int rank_;
  const Options options_;
  std::vector<const std::byte*> parts_;  // [world]: what AllReduce puts together.
  // How many exchanges are over; the next one, or the one that runs, is exchange_ + 1.
  uint64_t exchange_ = 0;
  uint64_t bytes_sent_ = 0;
  absl::Duration wait_time_;
  absl::Status status_;
};

// A communicator for each of `world` ranks that are threads of this process. CHECK-fails if there
// is no memory.
std::vector<std::unique_ptr<Communicator>> MakeLocalGroup(
    int world, const ShmCommunicator::Options& options = {});

}  // namespace phalanx

#endif  // PHALANX_WORKER_COMM_SHM_COMMUNICATOR_H_
