// How a backend draws the tokens of whole rows: as a world of one rank, by the ops that draw tokens
// where rows are split over ranks, in the order that kernels/ops.h tells.
#ifndef PHALANX_KERNELS_SAMPLING_WHOLE_ROWS_H_
#define PHALANX_KERNELS_SAMPLING_WHOLE_ROWS_H_

#include "kernels/ops.h"

namespace phalanx::kernels {

// Whether a row may have such a cut, by the batch's flags.
inline bool WantsCutOf(const SamplingBatch& batch, CutKind kind) {
  if (kind == CutKind::kTopK) return batch.wants_top_k;
  return kind == CutKind::kTopP ? batch.wants_top_p : batch.wants_typical_p;
}

// `ops` has functions of the names of the ops, without the arguments that are the same for all: the
// batch, the logits and the shard. What no row wants, by the batch's flags, is left out.
template <typename Ops>
void DrawWholeRows(const SamplingBatch& batch, const Ops& ops) {
  ops.RowMaxima();
  if (batch.wants_draw) {
    for (const CutKind kind : {CutKind::kTopK, CutKind::kTopP, CutKind::kTypical}) {
      if (!WantsCutOf(batch, kind)) continue;
      if (kind == CutKind::kTypical) ops.TypicalSums();
      for (int digit = 0; digit < kCutDigits; ++digit) {
        ops.CutSums(kind, digit);
        ops.NarrowCut(kind, digit);
      }
    }
    ops.KeptWeights();
  }
  ops.DrawTokens();
  ops.TakeTokens();
}

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_SAMPLING_WHOLE_ROWS_H_
