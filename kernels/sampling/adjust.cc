#include "kernels/sampling/adjust.h"

#include <algorithm>
#include <limits>

#include "kernels/sampling/logit_edit.h"

namespace phalanx::kernels {
namespace {

void MaskRow(const uint32_t* words, int64_t first_id, absl::Span<float> logits) {
  const auto size = static_cast<int64_t>(logits.size());
  int64_t i = 0;
  while (i < size) {
    const int64_t token = first_id + i;
    // Of most masks, most words allow nothing, or all.
    const uint32_t word = words[token / 32];
    const int64_t end = std::min(size, i + 32 - token % 32);
    if (word == 0) {
      std::fill(logits.begin() + i, logits.begin() + end, -std::numeric_limits<float>::infinity());
    } else if (word != ~uint32_t{0}) {
      for (int64_t j = i; j < end; ++j) {
        if (!MaskAllows(words, first_id + j)) logits[j] = -std::numeric_limits<float>::infinity();
      }
    }
    i = end;
  }
}

}  // namespace

void AdjustRow(const SamplingBatch& batch, const SamplingRow& row, int64_t first_id,
               absl::Span<float> logits) {
  const absl::Span<const LogitEdit> edits(batch.edits + row.edits_begin,
                                          row.edits_end - row.edits_begin);
  const auto* edit = std::lower_bound(
      edits.begin(), edits.end(), first_id,
      [](const LogitEdit& candidate, int64_t token) { return candidate.token < token; });
  const int64_t end = first_id + static_cast<int64_t>(logits.size());
  for (; edit != edits.end() && edit->token < end; ++edit) {
    float& logit = logits[edit->token - first_id];
    logit = EditedLogit(logit, *edit, row);
  }
  if (row.mask_begin != kNoMask) MaskRow(batch.mask_words + row.mask_begin, first_id, logits);
}

}  // namespace phalanx::kernels
