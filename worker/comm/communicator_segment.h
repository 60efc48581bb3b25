// The block of memory through which the ranks of one host meet.
//
// Layout: a cache line of state of the group, then a cache line of counters for each rank, then two
// halves of data for each rank. Ranks number their exchanges; exchange n uses half n % 2. One wait
// for each exchange is enough: a rank that has arrived at exchange n + 1 has finished reading
// exchange n, and nobody passes n + 1 before all have arrived there, so at n + 2 nobody reads half
// n % 2 any more and it can be written again.
#ifndef PHALANX_WORKER_COMM_COMMUNICATOR_SEGMENT_H_
#define PHALANX_WORKER_COMM_COMMUNICATOR_SEGMENT_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace phalanx {

// Bytes that one rank can put into one exchange; longer messages take several.
inline constexpr size_t kExchangeBytes = size_t{1} << 18;

// A mapping of the segment, shared by the ranks as processes (memfd) or threads (plain sharing).
// Arrive and Wait are for the rank's one engine thread; Abort is for any thread.
class CommunicatorSegment {
 public:
  // Makes a segment for `world` ranks in a memfd. RESOURCE_EXHAUSTED if there is no memory.
  static absl::StatusOr<std::shared_ptr<CommunicatorSegment>> Create(int world);
  // Maps the segment that another process made; takes ownership of `fd`. INVALID_ARGUMENT if it is
  // not a segment for `world` ranks.
  static absl::StatusOr<std::shared_ptr<CommunicatorSegment>> Map(int fd, int world);
  CommunicatorSegment(const CommunicatorSegment&) = delete;
  CommunicatorSegment& operator=(const CommunicatorSegment&) = delete;
  ~CommunicatorSegment();

  // To be sent to the other ranks; stays owned by the segment.
  int fd() const { return fd_; }
  int world() const { return world_; }

  // Where `rank` puts its data for an exchange: kExchangeBytes, 64-byte aligned.
  std::byte* Data(int rank, uint64_t exchange) const;

  // Says that `rank` has put its data for `exchange`, and wakes the ranks that wait for that.
  void Arrive(int rank, uint64_t exchange);

  // Whether all ranks have arrived at `exchange`. If so, their data can be read.
  bool AllHaveArrived(uint64_t exchange) const;

  // Blocks until all ranks have arrived at `exchange`: looks `spins` times at each, then sleeps. OK
  // if all have arrived, even after Abort. Otherwise ABORTED after Abort, or DEADLINE_EXCEEDED,
  // naming a rank that is missing, after `timeout`.
  absl::Status WaitForAll(uint64_t exchange, int spins, absl::Duration timeout);

  // Wakes all waiters of all ranks, for good.
  void Abort();
  // Whether any rank has called Abort.
  bool aborted() const;

 private:
  struct Header;
  struct Rank;

  CommunicatorSegment(int fd, void* map, int world);
  static size_t Bytes(int world);
  absl::Status SleepUntilArrived(int rank, uint64_t exchange, absl::Time deadline);

  const int fd_;
  std::byte* const map_;
  const int world_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_COMM_COMMUNICATOR_SEGMENT_H_
