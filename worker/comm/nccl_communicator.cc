#include "worker/comm/nccl_communicator.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "kernels/cuda/cuda_status.h"
#include "kernels/cuda/rank_sum.h"

namespace phalanx {
namespace {

using kernels::DType;
using kernels::cuda::CudaBuffer;
using kernels::cuda::CudaStatus;
using kernels::cuda::CudaStream;
using kernels::cuda::UseDevice;

// Between two looks at something that another rank has to do first.
constexpr auto kPause = std::chrono::microseconds(50);
// How long the destructor waits for what is queued.
constexpr absl::Duration kTakeDownTime = absl::Seconds(3);

constexpr size_t kMaxElementBytes = sizeof(float);

cudaStream_t Handle(kernels::Stream& stream) { return static_cast<CudaStream&>(stream).handle(); }

NcclType TypeOf(DType dtype) {
  CHECK(dtype == DType::kF32 || dtype == DType::kBF16) << kernels::DTypeName(dtype);
  return dtype == DType::kF32 ? NcclType::kFloat32 : NcclType::kBFloat16;
}

size_t BytesOf(NcclType type) { return type == NcclType::kFloat32 ? 4 : 2; }

kernels::Tensor RowsOf(kernels::Tensor tensor, int64_t first, int64_t rows) {
  tensor.data = static_cast<std::byte*>(tensor.data) +
                static_cast<size_t>(first * tensor.cols) * BytesOf(TypeOf(tensor.dtype));
  tensor.rows = rows;
  return tensor;
}

}  // namespace

NcclCommunicator::NcclCommunicator(const NcclApi& api, int rank, int world, const Options& options)
    : api_(api), rank_(rank), world_(world), options_(options) {
  CHECK(rank >= 0 && rank < world) << rank << " of " << world;
  CHECK(options.workspace_elements > 0) << options.workspace_elements;
}

absl::StatusOr<std::unique_ptr<NcclCommunicator>> NcclCommunicator::Create(const NcclApi& api,
                                                                           const NcclUniqueId& id,
                                                                           int rank, int world,
                                                                           const Options& options) {
  std::unique_ptr<NcclCommunicator> communicator(new NcclCommunicator(api, rank, world, options));
  RETURN_IF_ERROR(communicator->Init(id));
  return communicator;
}

absl::Status NcclCommunicator::Init(const NcclUniqueId& id) {
  if (world_ == 1) return absl::OkStatus();
  RETURN_IF_ERROR(UseDevice(options_.device));
  if (sums_by_kernel()) {
    const size_t bytes =
        static_cast<size_t>(options_.workspace_elements) * world_ * kMaxElementBytes;
    ASSIGN_OR_RETURN(workspace_, CudaBuffer::Create(options_.device, bytes, "sums over ranks"));
  }
  ASSIGN_OR_RETURN(barrier_word_,
                   CudaBuffer::Create(options_.device, sizeof(uint64_t), "the ranks' barrier"));
  ASSIGN_OR_RETURN(barrier_stream_, CudaStream::Create(options_.device));
  NcclConfig config;
  config.blocking = 0;
  MutexLock lock(&mutex_);
  const NcclResult result = api_.CommInitRankConfig(&comm_, world_, id, rank_, &config);
  absl::Status status = NcclStatus(api_, comm_, result, "forming a communicator");
  return status.ok() ? status : End(std::move(status));
}

NcclCommunicator::~NcclCommunicator() {
  MutexLock lock(&mutex_);
  if (comm_ == nullptr) return;
  if (absl::Status status = UseDevice(options_.device); !status.ok()) {
    // NCCL cannot work on a device that is lost either.
    LOG(WARNING) << "a communicator is left as it is: " << status.message();
    return;
  }
  if (!TakeDown()) End(absl::AbortedError("the communicator was destroyed")).IgnoreError();
}

bool NcclCommunicator::TakeDown() {
  const absl::StatusOr<bool> formed = IsSettled("forming a communicator");
  if (!formed.ok() || !*formed) return false;
  const NcclResult result = api_.CommFinalize(comm_);
  if (!NcclStatus(api_, comm_, result, "ending a communicator").ok()) return false;
  const absl::Time deadline = MonotonicClock()->Now() + std::min(options_.timeout, kTakeDownTime);
  while (true) {
    const absl::StatusOr<bool> finalized = IsSettled("ending a communicator");
    if (!finalized.ok()) return false;
    if (*finalized) break;
    if (MonotonicClock()->Now() >= deadline) return false;
    std::this_thread::sleep_for(kPause);
  }
  return api_.CommDestroy(std::exchange(comm_, nullptr)) == NcclResult::kSuccess;
}

void NcclCommunicator::Abort() {
  MutexLock lock(&mutex_);
  End(absl::AbortedError("the communicator was aborted")).IgnoreError();
}

absl::Status NcclCommunicator::End(absl::Status status) {
  if (!status_.ok()) return status_;
  // Before the streams run on, so that whoever waits for them and then asks learns of it.
  status_ = std::move(status);
  if (comm_ == nullptr) return status_;
  if (absl::Status device = UseDevice(options_.device); !device.ok()) {
    LOG(WARNING) << "aborting a communicator: " << device.message();
  }
  NcclComm const comm = std::exchange(comm_, nullptr);
  const NcclResult result = api_.CommAbort(comm);
  if (result != NcclResult::kSuccess && result != NcclResult::kInProgress) {
    LOG(WARNING) << "aborting a communicator: NCCL says " << api_.GetErrorString(result);
  }
  return status_;
}

absl::StatusOr<bool> NcclCommunicator::IsSettled(absl::string_view doing) {
  RETURN_IF_ERROR(status_);
  NcclResult state = NcclResult::kSuccess;
  NcclResult result = api_.CommGetAsyncError(comm_, &state);
  if (result == NcclResult::kSuccess) result = state;
  if (absl::Status status = NcclStatus(api_, comm_, result, doing); !status.ok()) {
    return End(std::move(status));
  }
  return result == NcclResult::kSuccess;
}

absl::Status NcclCommunicator::AwaitSettled(absl::string_view doing, absl::string_view late) {
  absl::Time deadline = absl::InfiniteFuture();
  while (true) {
    {
      MutexLock lock(&mutex_);
      ASSIGN_OR_RETURN(const bool settled, IsSettled(doing));
      if (settled) return absl::OkStatus();
      // Most calls find it settled, so the clock is read only now.
      const absl::Time now = MonotonicClock()->Now();
      if (deadline == absl::InfiniteFuture()) deadline = now + options_.timeout;
      if (now >= deadline) {
        return End(absl::DeadlineExceededError(
            absl::StrCat(late, " within ", absl::FormatDuration(options_.timeout))));
      }
    }
    std::this_thread::sleep_for(kPause);
  }
}

absl::Status NcclCommunicator::AwaitFormed() {
  if (world_ == 1) {
    MutexLock lock(&mutex_);
    return status_;
  }
  RETURN_IF_ERROR(UseDevice(options_.device));
  return AwaitSettled("a collective",
                      absl::StrCat("not all of ", world_, " ranks came to form a communicator"));
}

absl::Status NcclCommunicator::Queue(absl::string_view doing,
                                     absl::FunctionRef<NcclResult(NcclComm)> call) {
  {
    MutexLock lock(&mutex_);
    RETURN_IF_ERROR(status_);
    const NcclResult result = call(comm_);
    absl::Status status = NcclStatus(api_, comm_, result, doing);
    if (!status.ok()) return End(std::move(status));
    if (result == NcclResult::kSuccess) return absl::OkStatus();
  }
  return AwaitSettled(doing, absl::StrCat(doing, ": a rank did not come"));
}

absl::Status NcclCommunicator::AllReduceSum(kernels::Stream& stream, kernels::Tensor data) {
  RETURN_IF_ERROR(AwaitFormed());
  const NcclType type = TypeOf(data.dtype);
  const int64_t count = data.rows * data.cols;
  if (world_ == 1 || count == 0) return absl::OkStatus();
  cudaStream_t const handle = Handle(stream);
  bytes_sent_ += count * BytesOf(type);
  if (!sums_by_kernel()) {
    return Queue("a sum over ranks", [&](NcclComm comm) {
      return api_.AllReduce(data.data, data.data, count, type, NcclOp::kSum, comm, handle);
    });
  }
  for (int64_t begin = 0; begin < count; begin += options_.workspace_elements) {
    const int64_t piece = std::min(count - begin, options_.workspace_elements);
    auto* const elements = static_cast<std::byte*>(data.data) + begin * BytesOf(type);
    RETURN_IF_ERROR(Queue("a sum over ranks", [&](NcclComm comm) {
      return api_.AllGather(elements, workspace_->data(), piece, type, comm, handle);
    }));
    kernels::cuda::LaunchRankSum(handle, data.dtype, world_, piece, workspace_->data(), elements);
  }
  return absl::OkStatus();
}

absl::Status NcclCommunicator::AllReduceAddRmsNorm(kernels::Stream& stream,
                                                   kernels::Backend& backend,
                                                   kernels::Tensor residual, kernels::Tensor delta,
                                                   kernels::Tensor weight, float eps,
                                                   kernels::Tensor out) {
  const int64_t rows_at_once = delta.cols == 0 ? 0 : options_.workspace_elements / delta.cols;
  if (!sums_by_kernel() || rows_at_once == 0) {
    return Communicator::AllReduceAddRmsNorm(stream, backend, residual, delta, weight, eps, out);
  }
  RETURN_IF_ERROR(AwaitFormed());
  const NcclType type = TypeOf(delta.dtype);
  cudaStream_t const handle = Handle(stream);
  bytes_sent_ += delta.rows * delta.cols * BytesOf(type);
  for (int64_t first = 0; first < delta.rows; first += rows_at_once) {
    const int64_t rows = std::min(delta.rows - first, rows_at_once);
    RETURN_IF_ERROR(Queue("a sum over ranks", [&](NcclComm comm) {
      return api_.AllGather(RowsOf(delta, first, rows).data, workspace_->data(), rows * delta.cols,
                            type, comm, handle);
    }));
    kernels::cuda::LaunchRankSumAddRmsNorm(handle, world_, workspace_->data(),
                                           RowsOf(residual, first, rows), weight, eps,
                                           RowsOf(out, first, rows));
  }
  return absl::OkStatus();
}

absl::Status NcclCommunicator::AllReduceWords(kernels::Stream& stream, uint64_t* words,
                                              int64_t count, WordOp op) {
  RETURN_IF_ERROR(AwaitFormed());
  if (world_ == 1 || count == 0) return absl::OkStatus();
  bytes_sent_ += count * sizeof(uint64_t);
  return Queue("combining words of ranks", [&](NcclComm comm) {
    return api_.AllReduce(words, words, count, NcclType::kUint64,
                          op == WordOp::kSum ? NcclOp::kSum : NcclOp::kMax, comm, Handle(stream));
  });
}

absl::Status NcclCommunicator::AllGatherWords(kernels::Stream& stream, const uint64_t* mine,
                                              int64_t count, uint64_t* all) {
  RETURN_IF_ERROR(AwaitFormed());
  if (count == 0) return absl::OkStatus();
  if (world_ == 1) {
    RETURN_IF_ERROR(UseDevice(options_.device));
    return CudaStatus(cudaMemcpyAsync(all, mine, count * sizeof(uint64_t), cudaMemcpyDeviceToDevice,
                                      Handle(stream)),
                      "gathering words of one rank");
  }
  bytes_sent_ += count * sizeof(uint64_t);
  return Queue("gathering words of ranks", [&](NcclComm comm) {
    return api_.AllGather(mine, all, count, NcclType::kUint64, comm, Handle(stream));
  });
}

absl::Status NcclCommunicator::Broadcast(kernels::Stream& stream, void* data, size_t bytes) {
  RETURN_IF_ERROR(AwaitFormed());
  if (world_ == 1 || bytes == 0) return absl::OkStatus();
  if (rank_ == 0) bytes_sent_ += bytes;
  return Queue("copying data of rank 0", [&](NcclComm comm) {
    return api_.Broadcast(data, data, bytes, NcclType::kUint8, /*root=*/0, comm, Handle(stream));
  });
}

absl::Status NcclCommunicator::Barrier() {
  RETURN_IF_ERROR(AwaitFormed());
  if (world_ == 1) return absl::OkStatus();
  RETURN_IF_ERROR(Queue("a barrier", [&](NcclComm comm) {
    return api_.AllReduce(barrier_word_->data(), barrier_word_->data(), 1, NcclType::kUint64,
                          NcclOp::kMax, comm, barrier_stream_->handle());
  }));
  return AwaitBarrier();
}

absl::Status NcclCommunicator::AwaitBarrier() {
  const absl::Time deadline = MonotonicClock()->Now() + options_.timeout;
  while (true) {
    const cudaError_t state = cudaStreamQuery(barrier_stream_->handle());
    {
      MutexLock lock(&mutex_);
      // First, since an abort ends what is queued.
      RETURN_IF_ERROR(IsSettled("a barrier").status());
      if (state == cudaSuccess) return absl::OkStatus();
      if (state != cudaErrorNotReady) return End(CudaStatus(state, "waiting at a barrier"));
      if (MonotonicClock()->Now() >= deadline) {
        return End(absl::DeadlineExceededError(absl::StrCat(
            "a rank did not come to a barrier within ", absl::FormatDuration(options_.timeout))));
      }
    }
    std::this_thread::sleep_for(kPause);
  }
}

absl::Status NcclCommunicator::CheckQueued() {
  MutexLock lock(&mutex_);
  if (comm_ == nullptr) return status_;
  return IsSettled("collectives that were queued").status();
}

}  // namespace phalanx
