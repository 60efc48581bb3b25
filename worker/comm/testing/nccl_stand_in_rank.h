// One rank's side of a communicator of the stand-in for NCCL.
#ifndef PHALANX_WORKER_COMM_TESTING_NCCL_STAND_IN_RANK_H_
#define PHALANX_WORKER_COMM_TESTING_NCCL_STAND_IN_RANK_H_

#include <cuda_runtime_api.h>

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "worker/comm/communicator_segment.h"
#include "worker/comm/nccl_api.h"

namespace phalanx {

// Where the ranks of a communicator meet: a page of memory that they share by its name. Rank 0
// leaves word there of the segment through which the data goes.
class NcclStandInBoard {
 public:
  struct Page;

  explicit NcclStandInBoard(std::string name);
  NcclStandInBoard(const NcclStandInBoard&) = delete;
  NcclStandInBoard& operator=(const NcclStandInBoard&) = delete;
  ~NcclStandInBoard();

  // Makes the page. Returns whether that went well.
  bool Create();
  // Opens the page that another one made.
  bool Open();
  // Nobody can open the page any more.
  void RemoveName();
  Page* operator->() const { return page_; }

 private:
  bool OpenWith(int flags);

  const std::string name_;
  Page* page_ = nullptr;
};

// What the ranks put before their data, so that collectives that do not match are found out.
struct alignas(64) NcclStandInCall {
  enum class Kind : uint64_t { kAllReduce = 1, kAllGather, kBroadcast };

  Kind kind = Kind::kAllReduce;
  NcclType type = NcclType::kUint8;
  NcclOp op = NcclOp::kSum;
  uint64_t count = 0;  // Of the whole collective.

  bool operator==(const NcclStandInCall&) const = default;
};

// Of one element.
size_t BytesOfNcclType(NcclType type);

// What an NcclComm of the stand-in points at. Shared by what it queues. Thread-safe.
class NcclStandInRank : public std::enable_shared_from_this<NcclStandInRank> {
 public:
  NcclStandInRank(std::string board_name, int world, int rank)
      : board_(std::move(board_name)), world_(world), rank_(rank) {}

  int world() const { return world_; }
  int rank() const { return rank_; }

  // Says that this rank is here, and begins to wait for the others on a thread of its own.
  NcclResult Begin();
  // What CommGetAsyncError reports.
  NcclResult State();

  // Gives a rank's chunk of the data.
  using ChunkOf = std::function<const std::byte*(int rank)>;
  // Takes in a chunk of all ranks' data: `count` elements from the element `first` on.
  using Take = std::function<void(const ChunkOf& chunk_of, size_t first, size_t count)>;
  // Queues this rank's part of a collective.
  NcclResult Queue(const NcclStandInCall& call, const void* send, Take take, cudaStream_t stream);

  void Finalize();
  // To be called last, one of them. Abort ends what is queued; Leave lets it go on.
  void Abort();
  void Leave();

 private:
  uint32_t Bit() const { return uint32_t{1} << rank_; }
  uint32_t AllBits() const { return (uint32_t{1} << world_) - 1; }
  // What forming_ runs.
  void AwaitAll();
  // Whether all ranks have come and have the segment.
  bool Form();
  // Runs on the thread of a stream.
  void Run(const NcclStandInCall& call, const void* send, const Take& take, uint64_t turn);
  NcclResult Exchange(const NcclStandInCall& call, const std::byte* send, const Take& take);
  // False if this rank was aborted meanwhile.
  bool AwaitOthers();

  NcclStandInBoard board_;
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
  bool busy_ = false;      // Whether a collective runs.
  uint64_t issued_ = 0;    // Collectives that were queued, but for recorded ones.
  uint64_t finished_ = 0;  // The last of these that has run.
  NcclResult error_ = NcclResult::kSuccess;
  std::thread forming_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_COMM_TESTING_NCCL_STAND_IN_RANK_H_
