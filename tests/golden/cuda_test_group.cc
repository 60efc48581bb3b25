// Golden models on the CUDA backend, in float32, on the emulator; ranks meet by NCCL's stand-in.
#include <utility>
#include <vector>

#include "kernels/cuda/cuda_backend.h"
#include "tests/golden/tiny_models.h"
#include "worker/comm/nccl_communicator_factory.h"
#include "worker/comm/testing/nccl_stand_in.h"

namespace phalanx {

RankGroup MakeTestGroup(const std::string& path, int world, kernels::KvDType kv_cache) {
  NcclCommunicatorFactory factory(NcclStandIn(), {});
  CommunicatorFactory::Meeting meeting = *factory.Meet(world, absl::Minutes(1));
  std::vector<std::unique_ptr<Communicator>> ranks;
  ranks.push_back(std::move(meeting.communicator));
  for (int rank = 1; rank < world; ++rank) {
    ranks.push_back(*factory.Join(meeting.invitation, rank, world, absl::Minutes(1)));
  }
  return RankGroup(
      path, kTinyModelLimits,
      [=] {
        return *kernels::MakeCudaBackend(
            {.activations = kernels::DType::kF32, .kv_cache = kv_cache});
      },
      std::move(ranks));
}

std::vector<kernels::KvDType> RoundedTestKvDTypes() {
  return {kernels::KvDType::kInt8, kernels::KvDType::kFp8};
}

int MostTestRanks() { return 2; }

}  // namespace phalanx
