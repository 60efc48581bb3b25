#include "worker/comm/shm_communicator.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "base/log.h"
#include "base/status.h"

namespace phalanx {
namespace {

// Values of a type that fit one exchange.
template <typename T>
constexpr int64_t kExchangeValues = kExchangeBytes / sizeof(T);

// The upper half of a float32.
struct BFloat16 {
  uint16_t bits;
};

float ToFloat(BFloat16 value) { return std::bit_cast<float>(uint32_t{value.bits} << 16); }

// To the nearest, and to the even one of two that are equally near. NaN and infinities that sums of
// bfloat16 make have zeros in the lower half, and so stay what they are.
BFloat16 Round(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

}  // namespace

ShmCommunicator::ShmCommunicator(std::shared_ptr<CommunicatorSegment> segment, int rank,
                                 const Options& options)
    : segment_(std::move(segment)), rank_(rank), options_(options) {
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
  status_ = segment_->WaitForAll(exchange_ + 1, options_.spins, options_.timeout);
  if (!status_.ok()) segment_->Abort();
  return status_;
}

template <typename T>
void ShmCommunicator::Put(const T* values, int64_t count) {
  // A rank that is alone has nobody to send to.
  if (world() == 1) return;
  std::memcpy(Data<T>(rank_), values, count * sizeof(T));
  bytes_sent_ += count * sizeof(T);
}

// Every rank reduces all the data itself, in rank order, so that all get the same bits: float sums
// depend on their order.
template <typename T, typename Reduce>
absl::Status ShmCommunicator::AllReduce(T* data, int64_t count, Reduce reduce) {
  RETURN_IF_ERROR(CheckAlive());
  if (world() == 1) return absl::OkStatus();
  // exchange_ counts on only when the peers' data has been read: until this rank arrives at the
  // next exchange, they leave it in place.
  while (count > 0) {
    const int64_t chunk = std::min(count, kExchangeValues<T>);
    Put(data, chunk);
    RETURN_IF_ERROR(Exchange());
    reduce(chunk, data);
    ++exchange_;
    data += chunk;
    count -= chunk;
  }
  return absl::OkStatus();
}

absl::Status ShmCommunicator::AllReduceSum(kernels::Stream&, kernels::Tensor data) {
  const int64_t count = data.rows * data.cols;
  if (data.dtype == kernels::DType::kBF16) {
    return AllReduce(static_cast<BFloat16*>(data.data), count, [&](int64_t n, BFloat16* to) {
      for (int64_t i = 0; i < n; ++i) {
        float sum = ToFloat(Data<BFloat16>(0)[i]);
        for (int rank = 1; rank < world(); ++rank) sum += ToFloat(Data<BFloat16>(rank)[i]);
        to[i] = Round(sum);
      }
    });
  }
  CHECK(data.dtype == kernels::DType::kF32) << kernels::DTypeName(data.dtype);
  // The first two ranks share a loop, which saves a pass over the data and is all there is to do
  // for two ranks.
  return AllReduce(data.f32(), count, [&](int64_t n, float* to) {
    const float* const first = Data<float>(0);
    const float* const second = Data<float>(1);
    for (int64_t i = 0; i < n; ++i) to[i] = first[i] + second[i];
    for (int rank = 2; rank < world(); ++rank) {
      const float* const next = Data<float>(rank);
      for (int64_t i = 0; i < n; ++i) to[i] += next[i];
    }
  });
}

absl::Status ShmCommunicator::AllReduceWords(kernels::Stream&, uint64_t* words, int64_t count,
                                             WordOp op) {
  return AllReduce(words, count, [&](int64_t n, uint64_t* to) {
    for (int rank = 0; rank < world(); ++rank) {
      if (rank == rank_) continue;
      const uint64_t* const next = Data<uint64_t>(rank);
      if (op == WordOp::kSum) {
        for (int64_t i = 0; i < n; ++i) to[i] += next[i];
      } else {
        for (int64_t i = 0; i < n; ++i) to[i] = std::max(to[i], next[i]);
      }
    }
  });
}

absl::Status ShmCommunicator::AllGatherWords(kernels::Stream&, const uint64_t* mine, int64_t count,
                                             uint64_t* all) {
  RETURN_IF_ERROR(CheckAlive());
  std::copy_n(mine, count, all + rank_ * count);
  if (world() == 1) return absl::OkStatus();
  for (int64_t begin = 0; begin < count; begin += kExchangeValues<uint64_t>) {
    const int64_t chunk = std::min(count - begin, kExchangeValues<uint64_t>);
    Put(mine + begin, chunk);
    RETURN_IF_ERROR(Exchange());
    for (int rank = 0; rank < world(); ++rank) {
      if (rank == rank_) continue;
      std::copy_n(Data<uint64_t>(rank), chunk, all + rank * count + begin);
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
    if (rank_ == 0) Put(next, static_cast<int64_t>(chunk));
    RETURN_IF_ERROR(Exchange());
    if (rank_ != 0) std::memcpy(next, Data<std::byte>(0), chunk);
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
