#include "worker/comm/shm_communicator.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/log.h"
#include "base/status.h"

namespace phalanx {
namespace {

constexpr int64_t kExchangeFloats = kExchangeBytes / sizeof(float);

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

// Every rank adds all the data itself, in rank order, so that all get the same bits: float sums
// depend on their order. The first two ranks share a loop, which saves a pass over `data` and is
// all there is to do for two ranks.
void ShmCommunicator::Sum(int64_t count, float* data) const {
  const float* const first = Data<float>(0);
  const float* const second = Data<float>(1);
  for (int64_t i = 0; i < count; ++i) data[i] = first[i] + second[i];
  for (int rank = 2; rank < world(); ++rank) {
    const float* const next = Data<float>(rank);
    for (int64_t i = 0; i < count; ++i) data[i] += next[i];
  }
}

absl::Status ShmCommunicator::AllReduceSum(kernels::Stream&, float* data, int64_t count) {
  RETURN_IF_ERROR(CheckAlive());
  if (world() == 1) return absl::OkStatus();
  // exchange_ counts on only when the peers' data has been read: until this rank arrives at the
  // next exchange, they leave it in place.
  while (count > 0) {
    const int64_t chunk = std::min(count, kExchangeFloats);
    std::memcpy(Data<float>(rank_), data, chunk * sizeof(float));
    RETURN_IF_ERROR(Exchange());
    Sum(chunk, data);
    ++exchange_;
    data += chunk;
    count -= chunk;
  }
  return absl::OkStatus();
}

absl::Status ShmCommunicator::GatherColumns(kernels::Stream&, const float* from, int64_t rows,
                                            const int64_t* cols, float* to) {
  RETURN_IF_ERROR(CheckAlive());
  // All ranks must make the same number of exchanges, so all reckon with the widest piece.
  const int64_t widest = *std::max_element(cols, cols + world());
  int64_t total = 0;
  for (int rank = 0; rank < world(); ++rank) total += cols[rank];
  const int64_t rows_at_once = std::max<int64_t>(1, kExchangeFloats / std::max<int64_t>(1, widest));
  for (int64_t row = 0; row < rows; row += rows_at_once) {
    const int64_t chunk_rows = std::min(rows_at_once, rows - row);
    // This takes more than one turn only if a single row of a rank is longer than an exchange; a
    // rank whose row has ended brings nothing to the later turns.
    for (int64_t col = 0; col < widest; col += kExchangeFloats) {
      const auto width = [&](int rank) {
        return std::clamp<int64_t>(cols[rank] - col, 0, kExchangeFloats);
      };
      const int64_t mine = width(rank_);
      for (int64_t r = 0; r < chunk_rows; ++r) {
        std::copy_n(from + (row + r) * cols[rank_] + col, mine, Data<float>(rank_) + r * mine);
      }
      RETURN_IF_ERROR(Exchange());
      // Where the piece of a rank begins in a row of `to`: after all columns of the ranks before
      // it.
      int64_t begin = col;
      for (int rank = 0; rank_ == 0 && rank < world(); ++rank) {
        for (int64_t r = 0; r < chunk_rows; ++r) {
          std::copy_n(Data<float>(rank) + r * width(rank), width(rank),
                      to + (row + r) * total + begin);
        }
        begin += cols[rank];
      }
      ++exchange_;
    }
  }
  return absl::OkStatus();
}

absl::Status ShmCommunicator::Broadcast(kernels::Stream&, void* data, size_t bytes) {
  RETURN_IF_ERROR(CheckAlive());
  auto* next = static_cast<std::byte*>(data);
  while (bytes > 0) {
    const size_t chunk = std::min(bytes, kExchangeBytes);
    if (rank_ == 0) std::memcpy(Data<std::byte>(0), next, chunk);
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
