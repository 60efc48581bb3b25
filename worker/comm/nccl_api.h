// NVIDIA's NCCL as far as we call it: a table of functions, filled from the library when a program
// starts or by a stand-in for tests. The declarations are our own, so nothing of NVIDIA's is needed
// to build, and a machine without the library can run everything else.
//
// What is declared here has been part of NCCL's binary interface, unchanged, since version 2.18.
#ifndef PHALANX_WORKER_COMM_NCCL_API_H_
#define PHALANX_WORKER_COMM_NCCL_API_H_

#include <cuda_runtime_api.h>

#include <climits>
#include <cstddef>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace phalanx {

// The version that we need at least, as ncclGetVersion tells it.
inline constexpr int kMinNcclVersion = 21800;

// ncclResult_t.
enum class NcclResult : int {
  kSuccess = 0,
  kUnhandledCudaError = 1,
  kSystemError = 2,
  kInternalError = 3,
  kInvalidArgument = 4,
  kInvalidUsage = 5,
  kRemoteError = 6,
  kInProgress = 7,
};

// ncclDataType_t.
enum class NcclType : int { kUint8 = 1, kUint64 = 5, kFloat32 = 7, kBFloat16 = 9 };

// ncclRedOp_t.
enum class NcclOp : int { kSum = 0, kMax = 2 };

// ncclUniqueId: by which the ranks of one communicator find each other.
struct NcclUniqueId {
  char bytes[128];
};

// ncclConfig_t as of 2.18. A newer library has more fields behind these, and gives those that
// `size` does not cover their defaults.
struct NcclConfig {
  static constexpr int kDefault = INT_MIN;

  size_t size = sizeof(NcclConfig);
  unsigned magic = 0xcafebeef;
  unsigned version = kMinNcclVersion;
  // 0: calls return kInProgress in place of waiting for other ranks.
  int blocking = kDefault;
  int cga_cluster_size = kDefault;
  int min_ctas = kDefault;
  int max_ctas = kDefault;
  const char* net_name = nullptr;
  int split_share = kDefault;
};
static_assert(sizeof(NcclConfig) == 48 && offsetof(NcclConfig, blocking) == 16 &&
              offsetof(NcclConfig, net_name) == 32);

// ncclComm_t.
using NcclComm = struct NcclCommunicatorState*;

// The functions. A member is called as its function, without "nccl", and does what NVIDIA's
// documentation says of it.
struct NcclApi {
  NcclResult (*GetVersion)(int* version) = nullptr;
  NcclResult (*GetUniqueId)(NcclUniqueId* id) = nullptr;
  NcclResult (*CommInitRankConfig)(NcclComm* comm, int world, NcclUniqueId id, int rank,
                                   NcclConfig* config) = nullptr;
  NcclResult (*CommGetAsyncError)(NcclComm comm, NcclResult* error) = nullptr;
  NcclResult (*CommAbort)(NcclComm comm) = nullptr;
  NcclResult (*CommFinalize)(NcclComm comm) = nullptr;
  NcclResult (*CommDestroy)(NcclComm comm) = nullptr;
  NcclResult (*AllReduce)(const void* send, void* receive, size_t count, NcclType type, NcclOp op,
                          NcclComm comm, cudaStream_t stream) = nullptr;
  NcclResult (*AllGather)(const void* send, void* receive, size_t send_count, NcclType type,
                          NcclComm comm, cudaStream_t stream) = nullptr;
  NcclResult (*Broadcast)(const void* send, void* receive, size_t count, NcclType type, int root,
                          NcclComm comm, cudaStream_t stream) = nullptr;
  const char* (*GetErrorString)(NcclResult result) = nullptr;
  const char* (*GetLastError)(NcclComm comm) = nullptr;
};

// Loads NCCL: the file that the environment variable PHALANX_NCCL names, or else libnccl.so.2 from
// where the system looks for libraries. It stays loaded until the process ends. NOT_FOUND if it
// cannot be loaded, saying what was looked for, where, and how to get it; FAILED_PRECONDITION if it
// is older than kMinNcclVersion or lacks a function.
absl::StatusOr<NcclApi> LoadNccl();

// OK for kSuccess and kInProgress. INTERNAL for kInvalidArgument and kInvalidUsage, which are
// faults of ours; UNAVAILABLE for all others. The message says what was being done, and tells the
// error and its reason in NCCL's words. `comm` may be null.
absl::Status NcclStatus(const NcclApi& api, NcclComm comm, NcclResult result,
                        absl::string_view doing);

}  // namespace phalanx

#endif  // PHALANX_WORKER_COMM_NCCL_API_H_
