#include "worker/comm/testing/nccl_stand_in_rank.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "kernels/cuda/testing/emulator.h"

namespace phalanx {
namespace {

// How long a wait for the other ranks goes on before it looks whether this rank was aborted.
constexpr absl::Duration kLook = absl::Milliseconds(1);

constexpr size_t kChunkBytes = kExchangeBytes - sizeof(NcclStandInCall);

}  // namespace

size_t BytesOfNcclType(NcclType type) {
  switch (type) {
    case NcclType::kUint8:
      return 1;
    case NcclType::kBFloat16:
      return 2;
    case NcclType::kFloat32:
      return 4;
    case NcclType::kUint64:
      return 8;
  }
  std::abort();
}

// --- The board ---

// All zeros at first.
struct NcclStandInBoard::Page {
  std::atomic<uint32_t> ranks_here;  // A bit for each.
  std::atomic<uint32_t> ranks_with_segment;
  std::atomic<int> segment_pid;
  std::atomic<int> segment_fd;
};

NcclStandInBoard::NcclStandInBoard(std::string name) : name_(std::move(name)) {}

NcclStandInBoard::~NcclStandInBoard() {
  if (page_ != nullptr) munmap(page_, sizeof(Page));
}

bool NcclStandInBoard::Create() { return OpenWith(O_CREAT | O_EXCL); }

bool NcclStandInBoard::Open() { return OpenWith(0); }

void NcclStandInBoard::RemoveName() { shm_unlink(name_.c_str()); }

bool NcclStandInBoard::OpenWith(int flags) {
  const int fd = shm_open(name_.c_str(), O_RDWR | O_CLOEXEC | flags, 0600);
  if (fd < 0) return false;
  void* map = MAP_FAILED;
  // Setting the size again changes nothing.
  if (ftruncate(fd, sizeof(Page)) == 0) {
    map = mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  }
  close(fd);
  if (map != MAP_FAILED) page_ = static_cast<Page*>(map);
  return page_ != nullptr;
}

// --- The rank ---

NcclResult NcclStandInRank::Begin() {
  if (!board_.Open()) return NcclResult::kSystemError;
  if (rank_ == 0) {
    auto segment = CommunicatorSegment::Create(world_);
    if (!segment.ok()) return NcclResult::kSystemError;
    segment_ = *segment;
    board_->segment_fd = segment_->fd();
    board_->segment_pid = getpid();
  }
  const uint32_t before = board_->ranks_here.fetch_or(Bit());
  if ((before & Bit()) != 0) return NcclResult::kInvalidUsage;
  // Goes on whether this rank makes calls or not.
  forming_ = std::thread([this] { AwaitAll(); });
  return NcclResult::kInProgress;
}

NcclResult NcclStandInRank::State() {
  const std::lock_guard lock(mutex_);
  if (error_ != NcclResult::kSuccess) return error_;
  if (!formed_) return NcclResult::kInProgress;
  return finalized_ && finished_ != issued_ ? NcclResult::kInProgress : NcclResult::kSuccess;
}

NcclResult NcclStandInRank::Queue(const NcclStandInCall& call, const void* send, Take take,
                                  cudaStream_t stream) {
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  cudaStreamIsCapturing(stream, &capture);
  uint64_t turn = 0;
  {
    const std::lock_guard lock(mutex_);
    if (!formed_ || finalized_ || aborted_) return NcclResult::kInvalidUsage;
    // A recorded call is replayed any number of times, so it has no turn.
    if (capture == cudaStreamCaptureStatusNone) turn = ++issued_;
  }
  kernels::cuda::emulator::Enqueue(
      stream, [self = shared_from_this(), call, send, take = std::move(take), turn] {
        self->Run(call, send, take, turn);
      });
  return NcclResult::kSuccess;
}

void NcclStandInRank::Finalize() {
  const std::lock_guard lock(mutex_);
  finalized_ = true;
}

void NcclStandInRank::Abort() {
  {
    std::unique_lock lock(mutex_);
    aborted_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !busy_; });
  }
  Leave();
}

void NcclStandInRank::Leave() {
  {
    const std::lock_guard lock(mutex_);
    left_ = true;
    changed_.notify_all();
  }
  forming_.join();
  if (rank_ != 0) return;
  board_->segment_fd = -1;
  board_.RemoveName();
}

void NcclStandInRank::AwaitAll() {
  std::unique_lock lock(mutex_);
  while (!left_ && !aborted_ && error_ == NcclResult::kSuccess && !Form()) {
    changed_.wait_for(lock, absl::ToChronoNanoseconds(kLook));
  }
}

bool NcclStandInRank::Form() {
  if (board_->ranks_here.load() != AllBits()) return false;
  if (segment_ == nullptr) {
    const std::string path =
        absl::StrCat("/proc/", board_->segment_pid.load(), "/fd/", board_->segment_fd.load());
    auto segment = CommunicatorSegment::Map(open(path.c_str(), O_RDWR | O_CLOEXEC), world_);
    if (!segment.ok()) {
      error_ = NcclResult::kSystemError;
      return false;
    }
    segment_ = *segment;
  }
  // No rank goes on before all have the segment, since its descriptor is rank 0's.
  if ((board_->ranks_with_segment.fetch_or(Bit()) | Bit()) != AllBits()) return false;
  board_.RemoveName();
  formed_ = true;
  return true;
}

void NcclStandInRank::Run(const NcclStandInCall& call, const void* send, const Take& take,
                          uint64_t turn) {
  {
    std::unique_lock lock(mutex_);
    const auto is_due = [&] { return !busy_ && (turn == 0 || turn == finished_ + 1); };
    changed_.wait(lock, [&] { return aborted_ || is_due(); });
    if (aborted_) return;
    busy_ = true;
  }
  const NcclResult result = Exchange(call, static_cast<const std::byte*>(send), take);
  const std::lock_guard lock(mutex_);
  busy_ = false;
  if (turn != 0) finished_ = turn;
  if (error_ == NcclResult::kSuccess) error_ = result;
  changed_.notify_all();
}

NcclResult NcclStandInRank::Exchange(const NcclStandInCall& call, const std::byte* send,
                                     const Take& take) {
  const size_t element = BytesOfNcclType(call.type);
  const size_t chunk = kChunkBytes / element;
  const ChunkOf chunk_of = [this](int rank) {
    return segment_->Data(rank, exchange_) + sizeof(NcclStandInCall);
  };
  for (size_t first = 0; first < call.count; first += chunk) {
    const size_t count = std::min(chunk, call.count - first);
    ++exchange_;
    std::byte* const mine = segment_->Data(rank_, exchange_);
    std::memcpy(mine, &call, sizeof(call));
    std::memcpy(mine + sizeof(NcclStandInCall), send + first * element, count * element);
    segment_->Arrive(rank_, exchange_);
    if (!AwaitOthers()) return NcclResult::kSuccess;  // Aborted.
    for (int rank = 0; rank < world_; ++rank) {
      NcclStandInCall theirs;
      std::memcpy(&theirs, segment_->Data(rank, exchange_), sizeof(theirs));
      if (theirs != call) return NcclResult::kInvalidUsage;
    }
    take(chunk_of, first, count);
  }
  return NcclResult::kSuccess;
}

bool NcclStandInRank::AwaitOthers() {
  while (!segment_->WaitForAll(exchange_, /*spins=*/0, kLook).ok()) {
    const std::lock_guard lock(mutex_);
    if (aborted_) return false;
  }
  return true;
}

}  // namespace phalanx
