// Changes rows of logits on the host, as logit_edit.h defines.
#ifndef PHALANX_KERNELS_SAMPLING_ADJUST_H_
#define PHALANX_KERNELS_SAMPLING_ADJUST_H_

#include <cstdint>

#include "absl/types/span.h"
#include "kernels/step_batch.h"

namespace phalanx::kernels {

// Changes this rank's logits of one row, those of the ids from `first_id` on.
void AdjustRow(const SamplingBatch& batch, const SamplingRow& row, int64_t first_id,
               absl::Span<float> logits);

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_SAMPLING_ADJUST_H_
