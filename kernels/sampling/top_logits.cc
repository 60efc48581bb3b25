#include "kernels/sampling/top_logits.h"

#include <algorithm>
#include <limits>

#include "kernels/sampling/cut.h"

namespace phalanx::kernels {

void TopLogitsOf(absl::Span<const float> logits, int64_t first_id, absl::Span<uint64_t> words,
                 const LogitKernels& kernels) {
  std::fill(words.begin(), words.end(), 0);
  if (words.empty()) return;
  // Tokens up to this logit are not among the likeliest: they have higher ids than those of equal
  // logits that are there already.
  float border = -std::numeric_limits<float>::infinity();
  const auto size = static_cast<int64_t>(logits.size());
  for (int64_t begin = 0; begin < size; begin += kLogitBlock) {
    const int64_t end = std::min(size, begin + kLogitBlock);
    bool has_nan = false;
    if (!(kernels.highest(logits.data() + begin, end - begin, &has_nan) > border)) continue;
    for (int64_t i = begin; i < end; ++i) {
      if (!(logits[i] > border)) continue;
      const uint64_t word = MaximumWord(logits[i], first_id + i);
      auto place = words.end() - 1;
      for (; place != words.begin() && *(place - 1) < word; --place) *place = *(place - 1);
      *place = word;
      if (words.back() != 0) border = HighestLogit(words.back());
    }
  }
}

int32_t TokenOfWord(uint64_t word) { return static_cast<int32_t>(~static_cast<uint32_t>(word)); }

float LogitOfWord(uint64_t word) { return HighestLogit(word); }

}  // namespace phalanx::kernels
