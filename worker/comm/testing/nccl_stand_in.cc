#include "worker/comm/testing/nccl_stand_in.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "kernels/bfloat16.h"
#include "kernels/cuda/testing/emulator.h"
#include "worker/comm/communicator_segment.h"

namespace phalanx {

// How the ranks of a communicator meet: a page of memory that GetUniqueId names and makes. Rank 0
// leaves word there of the segment through which the data goes.
struct NcclBoard {
  std::atomic<uint32_t> ranks_here;  // A bit for each.
  std::atomic<uint32_t> ranks_with_segment;
  std::atomic<int> segment_pid;
  std::atomic<int> segment_fd;
};

namespace {

constexpr int kMaxRank = 15;
// How long a wait for the other ranks goes on before it looks whether this rank was aborted.
constexpr absl::Duration kLook = absl::Milliseconds(1);

std::atomic<NcclResult> g_errors[kMaxRank + 1];

enum class Kind : uint64_t { kAllReduce = 1, kAllGather, kBroadcast };

// What each rank puts before its data, so that collectives that do not match are found out.
struct alignas(64) Call {
  Kind kind = Kind::kAllReduce;
  NcclType type = NcclType::kUint8;
  NcclOp op = NcclOp::kSum;
  uint64_t count = 0;  // Of the whole collective.

  bool operator==(const Call&) const = default;
};
constexpr size_t kChunkBytes = kExchangeBytes - sizeof(Call);

size_t BytesOf(NcclType type) {
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

class Board {
 public:
  explicit Board(std::string name) : name_(std::move(name)) {}
  ~Board() {
    if (map_ != nullptr) munmap(map_, sizeof(NcclBoard));
  }
  Board(const Board&) = delete;
  Board& operator=(const Board&) = delete;

  bool Open(int flags) {
    const int fd = shm_open(name_.c_str(), O_RDWR | O_CLOEXEC | flags, 0600);
    if (fd < 0) return false;
    void* map = MAP_FAILED;
    // Setting the size again changes nothing.
    if (ftruncate(fd, sizeof(NcclBoard)) == 0) {
      map = mmap(nullptr, sizeof(NcclBoard), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    close(fd);
    if (map != MAP_FAILED) map_ = static_cast<NcclBoard*>(map);
    return map_ != nullptr;
  }
  void RemoveName() { shm_unlink(name_.c_str()); }
  NcclBoard* operator->() const { return map_; }

 private:
  const std::string name_;
  NcclBoard* map_ = nullptr;
};

template <typename T>
T Combine(NcclOp op, T a, T b) {
  return op == NcclOp::kSum ? static_cast<T>(a + b) : std::max(a, b);
}

float ToFloat(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

}  // namespace

// One rank's side of a communicator. What is queued shares it.
struct NcclCommunicatorState : std::enable_shared_from_this<NcclCommunicatorState> {
 public:
  NcclCommunicatorState(std::string name, int world, int rank)
      : board_(std::move(name)), world_(world), rank_(rank) {}

  // Says that this rank is here.
  NcclResult Begin() {
    if (!board_.Open(0)) return NcclResult::kSystemError;
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

  NcclResult State() {
    if (const NcclResult error = g_errors[rank_]; error != NcclResult::kSuccess) return error;
    const std::lock_guard lock(mutex_);
    if (error_ != NcclResult::kSuccess) return error_;
    if (!formed_) return NcclResult::kInProgress;
    return finalized_ && running_ != issued_ ? NcclResult::kInProgress : NcclResult::kSuccess;
  }

  // Queues one rank's part of a collective. `take` is called for each chunk of the data, with what
  // function gives a rank's chunk, with its first element and its elements.
  using ChunkOf = std::function<const std::byte*(int rank)>;
  using Take = std::function<void(const ChunkOf& chunk_of, size_t first, size_t count)>;
  NcclResult Queue(const Call& call, const void* send, Take take, cudaStream_t stream) {
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

  void Finalize() {
    const std::lock_guard lock(mutex_);
    finalized_ = true;
  }

  void Abort() {
    {
      std::unique_lock lock(mutex_);
      aborted_ = true;
      changed_.notify_all();
      changed_.wait(lock, [this] { return !busy_; });
    }
    Leave();
  }

  // To be called last. Nobody can join any more once rank 0 has left.
  void Leave() {
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

  int world() const { return world_; }
  int rank() const { return rank_; }

 private:
  uint32_t Bit() const { return uint32_t{1} << rank_; }
  uint32_t AllBits() const { return (uint32_t{1} << world_) - 1; }

  // Runs on a thread of its own.
  void AwaitAll() {
    std::unique_lock lock(mutex_);
    while (!left_ && !aborted_ && error_ == NcclResult::kSuccess && !Form()) {
      changed_.wait_for(lock, absl::ToChronoNanoseconds(kLook));
    }
  }

  // Whether all ranks have come and have the segment.
  bool Form() {
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

  // Runs on the thread of a stream.
  void Run(const Call& call, const void* send, const Take& take, uint64_t turn) {
    {
      std::unique_lock lock(mutex_);
      const auto is_due = [&] { return !busy_ && (turn == 0 || turn == running_ + 1); };
      changed_.wait(lock, [&] { return aborted_ || is_due(); });
      if (aborted_) return;
      busy_ = true;
    }
    const NcclResult result = Exchange(call, static_cast<const std::byte*>(send), take);
    const std::lock_guard lock(mutex_);
    busy_ = false;
    if (turn != 0) running_ = turn;
    if (error_ == NcclResult::kSuccess) error_ = result;
    changed_.notify_all();
  }

  NcclResult Exchange(const Call& call, const std::byte* send, const Take& take) {
    const size_t element = BytesOf(call.type);
    const size_t chunk = kChunkBytes / element;
    const ChunkOf chunk_of = [this](int rank) {
      return segment_->Data(rank, exchange_) + sizeof(Call);
    };
    for (size_t first = 0; first < call.count; first += chunk) {
      const size_t count = std::min(chunk, call.count - first);
      ++exchange_;
      std::byte* const mine = segment_->Data(rank_, exchange_);
      std::memcpy(mine, &call, sizeof(call));
      std::memcpy(mine + sizeof(Call), send + first * element, count * element);
      segment_->Arrive(rank_, exchange_);
      if (!AwaitOthers()) return NcclResult::kSuccess;  // Aborted.
      for (int rank = 0; rank < world_; ++rank) {
        Call theirs;
        std::memcpy(&theirs, segment_->Data(rank, exchange_), sizeof(theirs));
        if (theirs != call) return NcclResult::kInvalidUsage;
      }
      take(chunk_of, first, count);
    }
    return NcclResult::kSuccess;
  }

  // False if this rank was aborted meanwhile.
  bool AwaitOthers() {
    while (!segment_->WaitForAll(exchange_, /*spins=*/0, kLook).ok()) {
      const std::lock_guard lock(mutex_);
      if (aborted_) return false;
    }
    return true;
  }

  Board board_;
  const int world_;
  const int rank_;
  std::shared_ptr<CommunicatorSegment> segment_;
  uint64_t exchange_ = 0;  // Of the collective that runs.

  std::mutex mutex_;
  std::condition_variable changed_;
  bool formed_ = false;
  bool finalized_ = false;
  bool aborted_ = false;
  bool left_ = false;
  bool busy_ = false;     // Whether a collective runs.
  uint64_t issued_ = 0;   // Collectives that were queued, but for recorded ones.
  uint64_t running_ = 0;  // The last of these that has run.
  NcclResult error_ = NcclResult::kSuccess;
  std::thread forming_;
};

namespace {

using State = NcclCommunicatorState;
// What an NcclComm points at owns the state.
using Owner = std::shared_ptr<State>;

State& StateOf(NcclComm comm) {
  CHECK(comm != nullptr) << "no communicator";
  return *comm;
}

// The states that are not destroyed, so that a handle that is used later is found out.
struct Owners {
  std::mutex mutex;
  std::vector<Owner> owners;
};

Owners& TheOwners() {
  static auto* owners = new Owners;
  return *owners;
}

// Takes the state out of those that may be used.
Owner Release(NcclComm comm) {
  const std::lock_guard lock(TheOwners().mutex);
  auto& owners = TheOwners().owners;
  const auto it = std::find_if(owners.begin(), owners.end(),
                               [&](const Owner& owner) { return owner.get() == comm; });
  CHECK(it != owners.end()) << "a communicator that does not exist, or no more";
  Owner owner = std::move(*it);
  owners.erase(it);
  return owner;
}

NcclResult GetVersion(int* version) {
  *version = kMinNcclVersion;
  return NcclResult::kSuccess;
}

NcclResult GetUniqueId(NcclUniqueId* id) {
  std::random_device random;
  const std::string name = absl::StrCat("/phalanx-nccl-", absl::Hex(random()), absl::Hex(random()),
                                        "-", absl::Hex(random()));
  *id = {};
  std::memcpy(id->bytes, name.data(), name.size());
  Board board(name);
  return board.Open(O_CREAT | O_EXCL) ? NcclResult::kSuccess : NcclResult::kSystemError;
}

NcclResult CommInitRankConfig(NcclComm* comm, int world, NcclUniqueId id, int rank,
                              NcclConfig* config) {
  const NcclConfig expected;
  if (config->magic != expected.magic || config->size != sizeof(NcclConfig) ||
      config->version != expected.version || config->blocking != 0 || world < 1 || rank < 0 ||
      rank >= world || world > kMaxRank) {
    return NcclResult::kInvalidArgument;
  }
  const size_t length = strnlen(id.bytes, sizeof(id.bytes));
  auto owner = std::make_shared<State>(std::string(id.bytes, length), world, rank);
  const NcclResult result = owner->Begin();
  if (result != NcclResult::kInProgress) return result;
  *comm = owner.get();
  const std::lock_guard lock(TheOwners().mutex);
  TheOwners().owners.push_back(std::move(owner));
  return result;
}

NcclResult CommGetAsyncError(NcclComm comm, NcclResult* error) {
  *error = StateOf(comm).State();
  return NcclResult::kSuccess;
}

NcclResult CommAbort(NcclComm comm) {
  Release(comm)->Abort();
  return NcclResult::kSuccess;
}

NcclResult CommFinalize(NcclComm comm) {
  StateOf(comm).Finalize();
  return NcclResult::kInProgress;
}

NcclResult CommDestroy(NcclComm comm) {
  Release(comm)->Leave();
  return NcclResult::kSuccess;
}

// Combines the ranks' chunks from the last rank to the first, unlike the order of ranks.
template <typename T>
void Reduce(NcclOp op, int world, const State::ChunkOf& chunk_of, size_t count, T* to) {
  std::memcpy(to, chunk_of(world - 1), count * sizeof(T));
  for (int rank = world - 2; rank >= 0; --rank) {
    const auto* const next = reinterpret_cast<const T*>(chunk_of(rank));
    for (size_t i = 0; i < count; ++i) {
      if constexpr (std::is_same_v<T, uint16_t>) {
        to[i] = kernels::FloatToBFloat16(Combine(op, ToFloat(to[i]), ToFloat(next[i])));
      } else {
        to[i] = Combine(op, to[i], next[i]);
      }
    }
  }
}

NcclResult AllReduce(const void* send, void* receive, size_t count, NcclType type, NcclOp op,
                     NcclComm comm, cudaStream_t stream) {
  if (type == NcclType::kUint8) return NcclResult::kInvalidArgument;
  const int world = StateOf(comm).world();
  const auto take = [=](const State::ChunkOf& chunk_of, size_t first, size_t n) {
    if (type == NcclType::kFloat32) {
      Reduce(op, world, chunk_of, n, static_cast<float*>(receive) + first);
    } else if (type == NcclType::kBFloat16) {
      Reduce(op, world, chunk_of, n, static_cast<uint16_t*>(receive) + first);
    } else {
      Reduce(op, world, chunk_of, n, static_cast<uint64_t*>(receive) + first);
    }
  };
  return StateOf(comm).Queue({Kind::kAllReduce, type, op, count}, send, take, stream);
}

NcclResult AllGather(const void* send, void* receive, size_t count, NcclType type, NcclComm comm,
                     cudaStream_t stream) {
  const int world = StateOf(comm).world();
  const size_t element = BytesOf(type);
  const auto take = [=](const State::ChunkOf& chunk_of, size_t first, size_t n) {
    for (int rank = 0; rank < world; ++rank) {
      std::memcpy(static_cast<std::byte*>(receive) + (rank * count + first) * element,
                  chunk_of(rank), n * element);
    }
  };
  return StateOf(comm).Queue({Kind::kAllGather, type, NcclOp::kSum, count}, send, take, stream);
}

NcclResult Broadcast(const void* send, void* receive, size_t count, NcclType type, int root,
                     NcclComm comm, cudaStream_t stream) {
  const size_t element = BytesOf(type);
  const auto take = [=](const State::ChunkOf& chunk_of, size_t first, size_t n) {
    std::memcpy(static_cast<std::byte*>(receive) + first * element, chunk_of(root), n * element);
  };
  return StateOf(comm).Queue({Kind::kBroadcast, type, NcclOp::kSum, count}, send, take, stream);
}

const char* GetErrorString(NcclResult result) {
  switch (result) {
    case NcclResult::kSuccess:
      return "no error";
    case NcclResult::kRemoteError:
      return "a remote process exited";
    case NcclResult::kInvalidUsage:
      return "invalid usage";
    default:
      return "another error";
  }
}

const char* GetLastError(NcclComm comm) { return comm == nullptr ? "" : "the stand-in's reason"; }

}  // namespace

const NcclApi& NcclStandIn() {
  static const NcclApi api = {.GetVersion = GetVersion,
                              .GetUniqueId = GetUniqueId,
                              .CommInitRankConfig = CommInitRankConfig,
                              .CommGetAsyncError = CommGetAsyncError,
                              .CommAbort = CommAbort,
                              .CommFinalize = CommFinalize,
                              .CommDestroy = CommDestroy,
                              .AllReduce = AllReduce,
                              .AllGather = AllGather,
                              .Broadcast = Broadcast,
                              .GetErrorString = GetErrorString,
                              .GetLastError = GetLastError};
  return api;
}

void SetNcclStandInError(int rank, NcclResult error) { g_errors[rank] = error; }

}  // namespace phalanx
