// The forward pass of one rank.
#ifndef PHALANX_WORKER_MODEL_DECODER_H_
#define PHALANX_WORKER_MODEL_DECODER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "kernels/ops.h"
#include "model/sharding/shard.h"
#include "model/spec/spec.h"
#include "worker/comm/communicator.h"
#include "worker/step/step.h"
#include "worker/weights/decoder_weights.h"

namespace phalanx {

// Engine thread only. All memory is allocated by Create.
class Decoder {
 public:
  // A step that has not been computed `step_timeout` after its last op was called fails with
  // DEADLINE_EXCEEDED. `backend` and `comm` are lent and must outlive the decoder; `weights` are
  // `shard`'s part. `comm` may be null when shard.world is 1. INVALID_ARGUMENT for limits below 1,
  // UNIMPLEMENTED if the ranks are to sum activations of a type that the communicator cannot sum,
  // RESOURCE_EXHAUSTED, telling the bytes, if the KV arena or the activations do not fit.
  static absl::StatusOr<std::unique_ptr<Decoder>> Create(
      const ModelSpec& spec, const Shard& shard, DecoderWeights weights, const StepLimits& limits,
      kernels::Backend* backend, Communicator* comm, absl::Duration step_timeout);
  // A decoder for the same rank of a group that has formed again: it has the weights and the memory
  // of the KV cache of `old`, of which nothing else is left, and knows no sequence. No thread may
  // use `old`. What the caches hold is worth nothing. Takes the time of allocating activations, and
  // of recording forward passes where the backend does that. Errors are those of Create.
  static absl::StatusOr<std::unique_ptr<Decoder>> Rejoin(std::unique_ptr<Decoder> old,
                                                         Communicator* comm);
  virtual ~Decoder() = default;

  // Makes a blocked Await and all later ones return ABORTED. Does not abort the communicator, which
  // Launch may be waiting in. Any thread, any number of times.
  virtual void Abort() = 0;

  // Steps that may be launched and not awaited.
  static constexpr int kMaxInFlight = kernels::Stream::kMarks;

  // Where ops return before they are done, StepResult::comm_time is measured in the first step and
  // in each that is so many steps after one that was: the measurement makes a step longer.
  static constexpr int kTimedSteps = 64;

  // Call for the two parts of the next step to be computed, and return when that has been done to
  // the backend, or, if it computes while it is called (launches_ahead), when the part is done. The
  // parts are launched in turn; the step before may be awaited between them. Copy what they need of
  // the block. INTERNAL if the part breaks the limits or contradicts itself or the parts before
  // (StepChecker): nothing has been computed of it then. The errors of Communicator; after one of
  // these the decoder is useless. At most kMaxInFlight steps may be in flight.
  virtual absl::Status LaunchForward(const StepBlock& forward) = 0;
  virtual absl::Status LaunchSampling(const SamplingBlock& sampling) = 0;
  // Both.
  absl::Status Launch(const Step& step);
  // Blocks until the oldest step in flight is done. There must be one; it is not in flight any more
  // even if this fails. The errors of Communicator and Stream::AwaitMark, which are final.
  virtual absl::StatusOr<StepResult> Await() = 0;
  // Launch and Await, when none is in flight.
  absl::StatusOr<StepResult> Run(const Step& step);

  // Whether it gains time to launch a step while another one runs.
  virtual bool launches_ahead() const = 0;

  // The CPUs that the thread which launches steps is to keep to (Backend::calling_cpus).
  virtual absl::Span<const int> calling_cpus() const { return {}; }

  // Grows while a step is launched, at least with every product with a matrix, and when it is done;
  // stands still while the rank waits for its peers. Ranks that have come equally far in the same
  // steps have equal numbers. Any thread.
  virtual uint64_t progress() const = 0;

  virtual size_t kv_arena_bytes() const = 0;
  virtual size_t activation_bytes() const = 0;

 private:
  // Rejoin, of which `*this` is the old decoder; it is good for nothing afterwards.
  virtual absl::StatusOr<std::unique_ptr<Decoder>> MoveTo(Communicator* comm) = 0;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_MODEL_DECODER_H_
