#include "worker/engine/speculation.h"

#include <algorithm>
#include <limits>

#include "base/log.h"

namespace phalanx {

Speculation::Speculation(int max_draft_tokens)
    : max_draft_tokens_(max_draft_tokens), length_(std::min(kFirstDraft, max_draft_tokens)) {
  CHECK(max_draft_tokens >= 1) << max_draft_tokens;
}

int Speculation::Read(absl::Span<const int32_t> text, int most) {
  const int read = drafter_.Read(text, most);
  const int size = static_cast<int>(text.size());
  match_.reset();
  if (drafter_.read() == size && size >= paused_until_) match_ = drafter_.Match(text);
  return read;
}

int Speculation::AppendDraft(std::vector<int32_t>& tokens, int most) const {
  const size_t size = tokens.size();
  if (!match_.has_value() || drafter_.read() != static_cast<int>(size)) return 0;
  const int count = std::min(most, length_);
  for (int i = 0; i < count; ++i) {
    tokens.push_back(NgramDrafter::Guess(absl::MakeConstSpan(tokens).first(size), *match_, i));
  }
  return std::max(count, 0);
}

void Speculation::Note(int drafted, int accepted, int num_tokens) {
  // A draft that was cut short by a lack of room says nothing against longer ones.
  length_ = accepted == drafted ? std::min(2 * length_, max_draft_tokens_) : std::max(accepted, 1);
  drafted_ += drafted;
  accepted_ += accepted;
  if (drafted_ < kRoundTokens) return;
  if (4 * accepted_ >= drafted_) {
    next_pause_ = kFirstPause;
    drafted_ /= 2;
    accepted_ /= 2;
    return;
  }
  paused_until_ = num_tokens + next_pause_;
  next_pause_ = std::min(2 * next_pause_, std::numeric_limits<int>::max() / 4);
  drafted_ = 0;
  accepted_ = 0;
}

}  // namespace phalanx
