// Collectives among the ranks of a worker group.
#ifndef PHALANX_WORKER_COMM_COMMUNICATOR_H_
#define PHALANX_WORKER_COMM_COMMUNICATOR_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "kernels/ops.h"

namespace phalanx {

// How words of several ranks become one.
enum class WordOp { kSum, kMax };

// All ranks make the same calls in the same order with the same sizes. A call takes its place in
// the stream as an op does: it sees the results of the ops before it, and the next op sees its
// results. As with ops, a transport may return before the work is done: the caller waits for the
// stream, and then asks CheckQueued. Data is memory of the backend. Engine thread only, but for
// Abort.
//
// Deadline: a call fails once it has waited for a peer for the timeout that the communicator was
// made with. It is the same for all calls, because a step makes them all under one limit: a caller
// that wants to give up earlier calls Abort from another thread.
//
// Errors: DEADLINE_EXCEEDED if a peer did not come within the communicator's timeout, ABORTED after
// Abort (here or, where the transport can tell, on a peer), UNAVAILABLE or INTERNAL if the
// transport fails. Each is final: each later call returns the same error at once, and the ranks
// must form a new communicator. A transport that queues its work cannot tell of a peer that does
// not come: the stream comes to a stop then, and waiting for it has a timeout of its own.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int world() const = 0;

  // Each element of `data` becomes its sum over the ranks, in rank order, so that every rank has
  // the same bits. float32, or bfloat16, which is summed in float32 and rounded once, to the
  // nearest. On CPU backends `data` need not be aligned.
  virtual absl::Status AllReduceSum(kernels::Stream& stream, kernels::Tensor data) = 0;

  // residual += the sum of `delta` over the ranks; out = RmsNorm(residual), as Backend::AddRmsNorm;
  // out may be delta. One call, so that a transport which can reduce and normalize in one kernel
  // may do so; this one does one after the other, which defines the result.
  virtual absl::Status AllReduceAddRmsNorm(kernels::Stream& stream, kernels::Backend& backend,
                                           kernels::Tensor residual, kernels::Tensor delta,
                                           kernels::Tensor weight, float eps, kernels::Tensor out) {
    absl::Status status = AllReduceSum(stream, delta);
    if (status.ok()) backend.AddRmsNorm(stream, residual, delta, weight, eps, out);
    return status;
  }

  // words[i] = the sum over ranks, modulo 2^64, or the highest of all ranks.
  virtual absl::Status AllReduceWords(kernels::Stream& stream, uint64_t* words, int64_t count,
                                      WordOp op) = 0;

  // all[r * count + i] = mine[i] of rank r. `mine` does not lie in `all`, which is [world, count].
  virtual absl::Status AllGatherWords(kernels::Stream& stream, const uint64_t* mine, int64_t count,
                                      uint64_t* all) = 0;

  // Copies rank 0's data to all.
  virtual absl::Status Broadcast(kernels::Stream& stream, void* data, size_t bytes) = 0;

  // Returns when all ranks have called it.
  virtual absl::Status Barrier() = 0;

  // To be called when the stream has been waited for and before results are used: an error if
  // collectives that were queued may not have done what they should, since an abort or a failure
  // ends them early. Transports whose calls return when the work is done have told that already.
  virtual absl::Status CheckQueued() { return absl::OkStatus(); }

  // Bytes of data that this rank has given to collectives so far, each counted once however many
  // peers read it; 0 if it is alone. Calls that are recorded count when they are recorded, and not
  // when they are replayed. Engine thread only.
  virtual uint64_t bytes_sent() const = 0;

  // How long calls of this rank have waited so far for data or the arrival of other ranks. The rank
  // that comes last to a collective waits least, so a rank whose figure grows more slowly than
  // those of others is the one that they wait for. A peer that is there already, or comes within
  // the first look at it, counts nothing; time on a network counts. Zero where the transport cannot
  // tell, since its calls return before they are done. Engine thread only.
  virtual absl::Duration wait_time() const { return absl::ZeroDuration(); }

  // Makes a blocked call and all later ones return ABORTED; a call for which all ranks have come
  // already may still succeed. Ends what is queued, so that streams do not wait for peers any more.
  // Any thread, any number of times.
  virtual void Abort() = 0;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_COMM_COMMUNICATOR_H_
