// The ops of kernels/ops.h that read all of this rank's logits for sampling where the vocabulary is
// split over ranks, on a thread team. Arguments as there. Rows are shared out among the threads,
// and where there are fewer rows than threads can use, so are pieces of each row: what they add up
// are integers, so that the results do not depend on the pieces.
#ifndef PHALANX_KERNELS_CPU_SHARDED_SAMPLING_H_
#define PHALANX_KERNELS_CPU_SHARDED_SAMPLING_H_

#include <cstdint>

#include "kernels/cpu/thread_team.h"
#include "kernels/ops.h"

namespace phalanx::kernels {

void RowMaximaOnCpu(ThreadTeam& team, Tensor logits, int64_t first_id, uint64_t* maxima);
void CutSumsOnCpu(ThreadTeam& team, const SamplingBatch& batch, Tensor logits,
                  const SampleShard& shard, CutKind kind, int digit);
void KeptWeightsOnCpu(ThreadTeam& team, const SamplingBatch& batch, Tensor logits,
                      const SampleShard& shard);
void LogProbTermsOnCpu(ThreadTeam& team, Tensor logits, int64_t first_id, const int32_t* targets,
                       const uint64_t* maxima, uint64_t* terms);

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_CPU_SHARDED_SAMPLING_H_
