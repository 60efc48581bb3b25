// Collectives among the ranks of a worker group.
#ifndef PHALANX_WORKER_COMM_COMMUNICATOR_H_
#define PHALANX_WORKER_COMM_COMMUNICATOR_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "kernels/ops.h"

namespace phalanx {

// All ranks make the same calls in the same order with the same sizes. A call takes its place in
// the stream as an op does: it sees the results of the ops before it, and the next op sees its
// results. Engine thread only, but for Abort.
//
// Errors: DEADLINE_EXCEEDED if a peer did not come within the communicator's timeout, ABORTED after
// Abort (here or, where the transport can tell, on a peer). Either is final: each later call
// returns the same error at once, and the ranks must form a new communicator.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int world() const = 0;

  // data[i] = the sum over ranks, in rank order, so that every rank has the same bits.
  virtual absl::Status AllReduceSum(kernels::Stream& stream, float* data, int64_t count) = 0;

  // Collects unequal pieces at rank 0: `to` receives, for each of `rows` rows, the rank's
  // `cols[r]` floats side by side in rank order. `from`: [rows, cols[rank()]]; `to`: [rows, sum of
  // cols], unused on the other ranks. `cols` has world() entries.
  virtual absl::Status GatherColumns(kernels::Stream& stream, const float* from, int64_t rows,
                                     const int64_t* cols, float* to) = 0;

  // Copies rank 0's data to all.
  virtual absl::Status Broadcast(kernels::Stream& stream, void* data, size_t bytes) = 0;

  // Returns when all ranks have called it.
  virtual absl::Status Barrier() = 0;

  // Makes a blocked call and all later ones return ABORTED; a call for which all ranks have come
  // already may still succeed. Any thread, any number of times.
  virtual void Abort() = 0;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_COMM_COMMUNICATOR_H_
