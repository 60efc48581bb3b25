#include "worker/comm/shm_communicator.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"

namespace phalanx {
namespace {

// Words that fit one exchange.
constexpr int64_t kExchangeWords = kExchangeBytes / sizeof(uint64_t);

}  // namespace

ShmCommunicator::ShmCommunicator(std::shared_ptr<CommunicatorSegment> segment, int rank,
                                 const Options& options)
    : segment_(std::move(segment)), rank_(rank), options_(options), parts_(segment_->world()) {
  CHECK(rank >= 0 && rank < segment_->world()) << rank;
}

absl::Status ShmCommunicator::CheckAlive() {
  if (status_.ok() && segment_->aborted()) {
    status_ = absl::AbortedError("the communicator was aborted");
  }
  return status_;
}

absl::Status ShmCommunicator::Exchange() {
  RETURN_IF_ERROR(CheckAlive());
  segment_->Arrive(rank_, exchange_ + 1);
  // The rank that comes last is spared the look at the clock.
  if (segment_->AllHaveArrived(exchange_ + 1)) return absl::OkStatus();
  const absl::Time begin = MonotonicClock()->Now();
  status_ = segment_->WaitForAll(exchange_ + 1, options_.spins, options_.timeout);
  wait_time_ += MonotonicClock()->Now() - begin;
  if (!status_.ok()) segment_->Abort();
  return status_;
}

void ShmCommunicator::Put(const void* data, size_t bytes) {
  // A rank that is alone has nobody to send to.
  if (world() == 1) return;
  std::memcpy(Data(rank_), data, bytes);
  bytes_sent_ += bytes;
}

absl::Status ShmCommunicator::AllReduce(Reduction reduction, void* data, int64_t count) {
  RETURN_IF_ERROR(CheckAlive());
  if (world() == 1) return absl::OkStatus();
  const size_t element_bytes = ElementBytes(reduction);
  auto* next = static_cast<std::byte*>(data);
  // exchange_ counts on only when the peers' data has been read: until this rank arrives at the
  // next exchange, they leave it in place.
  while (count > 0) {
    const auto chunk = std::min(count, static_cast<int64_t>(kExchangeBytes / element_bytes));
    Put(next, chunk * element_bytes);
    RETURN_IF_ERROR(Exchange());
    for (int rank = 0; rank < world(); ++rank) parts_[rank] = Data(rank);
    ReduceInRankOrder(reduction, parts_, chunk, next);
    ++exchange_;
    next += chunk * element_bytes;
    count -= chunk;
  }
  return absl::OkStatus();
}

absl::Status ShmCommunicator::AllReduceSum(kernels::Stream&, kernels::Tensor data) {
  return AllReduce(SumOf(data.dtype), data.data, data.rows * data.cols);
}

absl::Status ShmCommunicator::AllReduceWords(kernels::Stream&, uint64_t* words, int64_t count,
                                             WordOp op) {
  return AllReduce(ReductionOf(op), words, count);
}

absl::Status ShmCommunicator::AllGatherWords(kernels::Stream&, const uint64_t* mine, int64_t count,
                                             uint64_t* all) {
  RETURN_IF_ERROR(CheckAlive());
  std::copy_n(mine, count, all + rank_ * count);
  if (world() == 1) return absl::OkStatus();
  for (int64_t begin = 0; begin < count; begin += kExchangeWords) {
    const int64_t chunk = std::min(count - begin, kExchangeWords);
    Put(mine + begin, chunk * sizeof(uint64_t));
    RETURN_IF_ERROR(Exchange());
    for (int rank = 0; rank < world(); ++rank) {
      if (rank == rank_) continue;
      std::memcpy(all + rank * count + begin, Data(rank), chunk * sizeof(uint64_t));
    }
    ++exchange_;
  }
  return absl::OkStatus();
}

absl::Status ShmCommunicator::Broadcast(kernels::Stream&, void* data, size_t bytes) {
  RETURN_IF_ERROR(CheckAlive());
  auto* next = static_cast<std::byte*>(data);
  while (bytes > 0) {
    const size_t chunk = std::min(bytes, kExchangeBytes);
    if (rank_ == 0) Put(next, chunk);
    RETURN_IF_ERROR(Exchange());
    if (rank_ != 0) std::memcpy(next, Data(0), chunk);
    ++exchange_;
    next += chunk;
    bytes -= chunk;
  }
  return absl::OkStatus();
}

absl::Status ShmCommunicator::Barrier() {
  RETURN_IF_ERROR(Exchange());
  ++exchange_;
  return absl::OkStatus();
}

std::vector<std::unique_ptr<Communicator>> MakeLocalGroup(int world,
                                                          const ShmCommunicator::Options& options) {
  absl::StatusOr<std::shared_ptr<CommunicatorSegment>> segment = CommunicatorSegment::Create(world);
  CHECK_OK(segment.status());
  std::vector<std::unique_ptr<Communicator>> group;
  group.reserve(world);
  for (int rank = 0; rank < world; ++rank) {
    group.push_back(std::make_unique<ShmCommunicator>(*segment, rank, options));
  }
  return group;
}

}  // namespace phalanx
