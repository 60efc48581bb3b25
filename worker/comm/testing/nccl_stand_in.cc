#include "worker/comm/testing/nccl_stand_in.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "kernels/bfloat16.h"
#include "worker/comm/testing/nccl_stand_in_rank.h"

namespace phalanx {

// NcclApi leaves the type open.
struct NcclCommunicatorState : NcclStandInRank {
  using NcclStandInRank::NcclStandInRank;
};

namespace {

constexpr int kMaxRank = 15;
std::atomic<NcclResult> g_errors[kMaxRank + 1];

using Call = NcclStandInCall;

template <typename T>
T Combine(NcclOp op, T a, T b) {
  return op == NcclOp::kSum ? static_cast<T>(a + b) : std::max(a, b);
}

float ToFloat(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

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

// The boards that this process has made. Most names are gone when it ends, but not those of
// communicators for which rank 0 never came.
class MadeBoards {
 public:
  MadeBoards() = default;
  MadeBoards(const MadeBoards&) = delete;
  MadeBoards& operator=(const MadeBoards&) = delete;
  ~MadeBoards() {
    for (const std::string& name : names_) NcclStandInBoard(name).RemoveName();
  }

  bool Make(const std::string& name) {
    const std::lock_guard lock(mutex_);
    names_.push_back(name);
    return NcclStandInBoard(name).Create();
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> names_;
};

NcclResult GetUniqueId(NcclUniqueId* id) {
  std::random_device random;
  const std::string name = absl::StrCat("/phalanx-nccl-", absl::Hex(random()), absl::Hex(random()),
                                        "-", absl::Hex(random()));
  *id = {};
  std::memcpy(id->bytes, name.data(), name.size());
  static MadeBoards boards;
  return boards.Make(name) ? NcclResult::kSuccess : NcclResult::kSystemError;
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
  State& state = StateOf(comm);
  *error = g_errors[state.rank()];
  if (*error == NcclResult::kSuccess) *error = state.State();
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
  return StateOf(comm).Queue({Call::Kind::kAllReduce, type, op, count}, send, take, stream);
}

NcclResult AllGather(const void* send, void* receive, size_t count, NcclType type, NcclComm comm,
                     cudaStream_t stream) {
  const int world = StateOf(comm).world();
  const size_t element = BytesOfNcclType(type);
  const auto take = [=](const State::ChunkOf& chunk_of, size_t first, size_t n) {
    for (int rank = 0; rank < world; ++rank) {
      std::memcpy(static_cast<std::byte*>(receive) + (rank * count + first) * element,
                  chunk_of(rank), n * element);
    }
  };
  return StateOf(comm).Queue({Call::Kind::kAllGather, type, NcclOp::kSum, count}, send, take,
                             stream);
}

NcclResult Broadcast(const void* send, void* receive, size_t count, NcclType type, int root,
                     NcclComm comm, cudaStream_t stream) {
  const size_t element = BytesOfNcclType(type);
  const auto take = [=](const State::ChunkOf& chunk_of, size_t first, size_t n) {
    std::memcpy(static_cast<std::byte*>(receive) + first * element, chunk_of(root), n * element);
  };
  return StateOf(comm).Queue({Call::Kind::kBroadcast, type, NcclOp::kSum, count}, send, take,
                             stream);
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
