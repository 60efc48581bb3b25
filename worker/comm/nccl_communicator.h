// Collectives by NCCL: ranks that have a GPU each.
#ifndef PHALANX_WORKER_COMM_NCCL_COMMUNICATOR_H_
#define PHALANX_WORKER_COMM_NCCL_COMMUNICATOR_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "kernels/cuda/cuda_memory.h"
#include "kernels/ops.h"
#include "worker/comm/communicator.h"
#include "worker/comm/nccl_api.h"

namespace phalanx {

// Streams that it is given are kernels::cuda::CudaStream, and data is memory of the device.
//
// A collective is queued on its stream and has not run when the call returns. So calls can be
// recorded (kernels::Backend::Record); a recording holds the communicator's own calls, and must be
// destroyed before the communicator. A call returns when its work is queued. For the first call of
// a kind NCCL connects the ranks, which waits until all of them make it, the timeout at most.
//
// A rank that does not come: the ranks form the communicator when Create has been called for all of
// them. The first call waits for that, and fails with DEADLINE_EXCEEDED after the timeout; so does
// Barrier, for a rank that does not come to it. Other collectives are queued all the same, and the
// stream comes to a stop at them: Stream::Synchronize has a timeout for that. Abort ends them.
//
// Errors of NCCL, among them those that it only learns of later (such as a connection to a peer
// that breaks), are UNAVAILABLE or INTERNAL (NcclStatus); each call and CheckQueued look for them.
// After an error the communicator has been aborted on this rank, so that its streams run on. Other
// ranks may not notice: whoever watches over the group aborts theirs.
//
// Sums: at Determinism::kStrict as Communicator::AllReduceSum demands. NCCL adds in an order of its
// own, which makes no difference for two ranks; for more, the data of all ranks is gathered and
// each rank sums it in rank order (kernels/cuda/rank_sum.h), which sends more bytes but takes one
// exchange, as suits the messages of a decode step. At kFast NCCL adds, in an order that may depend
// on the size of the message and rounds bfloat16 more than once; all ranks get the same bits.
//
// A rank that is alone makes no call of NCCL.
class NcclCommunicator final : public Communicator {
 public:
  struct Options {
    int device = 0;  // Of those that the process sees, from 0.
    kernels::Determinism determinism = kernels::Determinism::kStrict;
    // How long a call waits for a peer.
    absl::Duration timeout = absl::Seconds(60);
    // How many elements are gathered at a time for a sum in rank order; a longer message is summed
    // in several pieces. Takes 4 bytes of device memory for each, times the world; none where NCCL
    // adds. At least 1, best a multiple of 8.
    int64_t workspace_elements = int64_t{1} << 20;
  };

  // Begins to form a communicator with the ranks that call this with the same id, and does not wait
  // for them. `api` is lent for the communicator's life. `rank` is in [0, world).
  // RESOURCE_EXHAUSTED if the device has no memory for the workspace, INTERNAL if it does not work;
  // errors of NCCL as above.
  static absl::StatusOr<std::unique_ptr<NcclCommunicator>> Create(const NcclApi& api,
                                                                  const NcclUniqueId& id, int rank,
                                                                  int world,
                                                                  const Options& options);
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;
  // Waits some seconds at most for what is queued; aborts what has not ended then.
  ~NcclCommunicator() override;

  int rank() const override { return rank_; }
  int world() const override { return world_; }
  absl::Status AllReduceSum(kernels::Stream& stream, kernels::Tensor data) override;
  // Where our own kernel sums, it takes the norm too.
  absl::Status AllReduceAddRmsNorm(kernels::Stream& stream, kernels::Backend& backend,
                                   kernels::Tensor residual, kernels::Tensor delta,
                                   kernels::Tensor weight, float eps, kernels::Tensor out) override;
  absl::Status AllReduceWords(kernels::Stream& stream, uint64_t* words, int64_t count,
                              WordOp op) override;
  absl::Status AllGatherWords(kernels::Stream& stream, const uint64_t* mine, int64_t count,
                              uint64_t* all) override;
  absl::Status Broadcast(kernels::Stream& stream, void* data, size_t bytes) override;
  absl::Status Barrier() override;
  absl::Status CheckQueued() override;
  uint64_t bytes_sent() const override { return bytes_sent_; }
  // Does not return before NCCL has ended what was queued on this rank.
  void Abort() override;

 private:
  NcclCommunicator(const NcclApi& api, int rank, int world, const Options& options);
  absl::Status Init(const NcclUniqueId& id);
  // Whether the data of all ranks is gathered to be summed by our own kernel.
  bool sums_by_kernel() const {
    return options_.determinism == kernels::Determinism::kStrict && world_ > 2;
  }
  // To be called first by each collective: returns once the communicator is formed. Takes the time
  // of one call of NCCL if it was.
  absl::Status AwaitFormed();
  // Makes a call of NCCL that queues work, and waits until it is queued.
  absl::Status Queue(absl::string_view doing, absl::FunctionRef<NcclResult(NcclComm)> call);
  // Waits until NCCL has done what a call began; `late` is the error if that takes too long.
  absl::Status AwaitSettled(absl::string_view doing, absl::string_view late);
  // Whether NCCL has done what a call began.
  absl::StatusOr<bool> IsSettled(absl::string_view doing) EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status AwaitBarrier();
  // Ends the communicator for good with `status`, unless it has ended; returns what it ended with.
  absl::Status End(absl::Status status) EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Takes the communicator down in good order. Returns whether that is done.
  bool TakeDown() EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const NcclApi& api_;
  const int rank_;
  const int world_;
  const Options options_;
  // [world, workspace_elements] of up to 4 bytes; null where NCCL adds.
  std::unique_ptr<kernels::cuda::CudaBuffer> workspace_;
  // What Barrier sums, and where; null for a rank that is alone.
  std::unique_ptr<kernels::cuda::CudaBuffer> barrier_word_;
  std::unique_ptr<kernels::cuda::CudaStream> barrier_stream_;
  uint64_t bytes_sent_ = 0;  // Engine thread only.

  // Held during each call of NCCL, since none may run at the same time as an abort.
  Mutex mutex_;
  // Why the communicator has ended, or OK.
  absl::Status status_ GUARDED_BY(mutex_);
  // Null before Init, when it has ended, and for a rank that is alone.
  NcclComm comm_ GUARDED_BY(mutex_) = nullptr;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_COMM_NCCL_COMMUNICATOR_H_
