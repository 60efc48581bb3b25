// The pieces of sampling for a row whose logits are split over ranks, each of which has those of
// the next ids. What the ranks combine between the pieces, and in which order, is told at the ops
// of kernels/ops.h; these functions do one row, for backends that compute on the host. With the
// tokens that sample.h defines, whatever the split, and the same results with all kernels.
#ifndef PHALANX_KERNELS_SAMPLING_SHARDED_SAMPLE_H_
#define PHALANX_KERNELS_SAMPLING_SHARDED_SAMPLE_H_

#include <cstdint>

#include "absl/types/span.h"
#include "kernels/ops.h"
#include "kernels/sampling/cut.h"
#include "kernels/sampling/logit_kernels.h"

namespace phalanx::kernels {

// Sets the flags of `batch` by its rows, which the host has too.
void NoteWants(absl::Span<const SamplingRow> rows, int64_t vocab, SamplingBatch* batch);

// This rank's part of a row, and what the ranks know of the row so far.
struct RowShard {
  absl::Span<const float> logits;  // May be empty: a rank may have no part.
  int64_t first_id = 0;            // Of logits[0].
  int64_t vocab = 0;               // Logits of all ranks.
  SamplingRow sampling;
  uint64_t maximum = 0;                    // Of all ranks; not needed by MaximumOf.
  const SampleCut* cuts = nullptr;         // [kCutKinds], by CutKind; those that have been found.
  const uint64_t* typical_sums = nullptr;  // [kTypicalSums], of all ranks; for typical_p alone.
};

// Row `i` of a step; `logits` are this rank's. The maximum is that of shard.maxima.
RowShard RowOf(const SamplingBatch& batch, Tensor logits, const SampleShard& shard, int64_t i);

// The word of Backend::RowMaxima for logits of the ids from `first_id` on. The word of a row is the
// highest of those of its parts.
uint64_t MaximumOf(absl::Span<const float> logits, int64_t first_id,
                   const LogitKernels& kernels = ScalarLogitKernels());

// Whether the row has to be drawn: it is not greedy, and has a token.
bool IsDrawn(const RowShard& row);
// Whether it has a cut of that kind.
bool HasCut(const RowShard& row, CutKind kind);

// Adds the logits [begin, end) of this rank to sums[kDigitValues], as Backend::CutSums.
void AddCutSums(const RowShard& row, int64_t begin, int64_t end, CutKind kind, int digit,
                uint64_t* sums, const LogitKernels& kernels = ScalarLogitKernels());

// Adds what the logits [begin, end) of this rank have for Backend::TypicalSums to `sums`,
// [kTypicalSums]. The row has a cut of that kind.
void AddTypicalSums(const RowShard& row, int64_t begin, int64_t end, uint64_t* sums,
                    const LogitKernels& kernels = ScalarLogitKernels());

// Finds digit `digit` of the cut of row `i`, if it has one, as Backend::NarrowCut.
void NarrowRow(const SamplingBatch& batch, Tensor logits, const SampleShard& shard, int64_t i,
               CutKind kind, int digit, const LogitKernels& kernels = ScalarLogitKernels());

// The sum of the weights that the tokens of run `run` of this rank keep after all cuts; 0 if the
// row is not drawn. The runs are those of Backend::KeptWeights, `run` below kDigitValues.
uint64_t KeptWeightOfRun(const RowShard& row, int run,
                         const LogitKernels& kernels = ScalarLogitKernels());

// Writes this rank's word of row `i`, as Backend::DrawTokens.
void DrawRow(const SamplingBatch& batch, Tensor logits, const SampleShard& shard, int64_t i,
             const LogitKernels& kernels = ScalarLogitKernels());

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_SAMPLING_SHARDED_SAMPLE_H_
