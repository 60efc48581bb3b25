// All ranks of a model as threads of this process, for tests that run the real forward pass.
#ifndef PHALANX_WORKER_MODEL_TESTING_RANK_GROUP_H_
#define PHALANX_WORKER_MODEL_TESTING_RANK_GROUP_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/ops.h"
#include "model/spec/spec.h"
#include "worker/comm/communicator.h"
#include "worker/model/decoder.h"
#include "worker/step/step.h"

namespace phalanx {

class RankGroup {
 public:
  using BackendFactory = std::function<std::unique_ptr<kernels::Backend>()>;

  // Loads the file at `path` on `world` ranks. CHECK-fails if that does not work.
  RankGroup(const std::string& path, int world, const StepLimits& limits,
            const BackendFactory& make_backend);
  // The same with communicators of another transport than shared memory, one for each rank.
  RankGroup(const std::string& path, const StepLimits& limits, const BackendFactory& make_backend,
            std::vector<std::unique_ptr<Communicator>> comms);

  const ModelSpec& spec() const { return spec_; }
  Decoder& decoder(int rank) { return *ranks_[rank].decoder; }
  Communicator& communicator(int rank) { return *comms_[rank]; }

  // Runs one step on all ranks at once; returns the result, the same on all ranks, or the first
  // error.
  absl::StatusOr<StepResult> Run(const Step& step);
  // Has the ranks meet by other communicators, one for each, with what Decoder::Rejoin keeps.
  // CHECK- fails if that does not work.
  void Rejoin(std::vector<std::unique_ptr<Communicator>> comms);
  // Row `row` of the last step's logits, those of all ranks side by side.
  std::vector<float> Logits(int row);
  // What all ranks together have given to collectives so far.
  uint64_t bytes_sent() const;

 private:
  struct Rank {
    std::unique_ptr<kernels::Backend> backend;
    std::unique_ptr<Decoder> decoder;
    kernels::Tensor logits = {};  // Of the last step.
  };

  ModelSpec spec_;
  std::vector<std::unique_ptr<Communicator>> comms_;
  std::vector<Rank> ranks_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_MODEL_TESTING_RANK_GROUP_H_
