// Fills up a batch of decodes to a size that a backend computes well.
#ifndef PHALANX_WORKER_STEP_PAD_STEP_H_
#define PHALANX_WORKER_STEP_PAD_STEP_H_

#include "worker/step/step.h"

namespace phalanx {

// Whether each sequence of the step has one new token.
bool IsDecodeOnly(const kernels::StepCounts& counts);

// `block`, which must be IsDecodeOnly, with as many more sequences as it takes to have `num_seqs`.
// They have one token each at position 0 and are in `padding_slot`, whose block table must name
// kernels::kPaddingBlock. No logits of theirs are wanted, so they change no result.
StepBlock PadDecodes(const StepBlock& block, int num_seqs, int padding_slot);

}  // namespace phalanx

#endif  // PHALANX_WORKER_STEP_PAD_STEP_H_
