// One of the answers of a Generate call: its text, and what is counted of it.
#ifndef PHALANX_COORDINATOR_SERVER_CHOICE_H_
#define PHALANX_COORDINATOR_SERVER_CHOICE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "coordinator/routing/group_session.h"
#include "coordinator/server/answer_text.h"
#include "coordinator/server/coordinator_metrics.h"
#include "phalanx/v1/inference.pb.h"

namespace phalanx {

// Thread-compatible.
class Choice {
 public:
  // `metrics` must outlive the object.
  // A token of `stop_token_ids` that the engine ends the answer with is told as the reason.
  Choice(std::unique_ptr<AnswerDecoder> decoder, AnswerText::Options options,
         std::vector<int32_t> stop_token_ids, CoordinatorMetrics* metrics)
      : text_(std::move(decoder), std::move(options)),
        stop_token_ids_(std::move(stop_token_ids)),
        metrics_(*metrics) {}

  // Takes tokens that came at `now`. Not to be called any more once stopped() is true.
  AnswerText::Piece Append(absl::Span<const int32_t> token_ids, absl::Time now);
  // To be called when the engine has finished: returns what was held back, which may still match a
  // stop string.
  AnswerText::Piece Flush() { return text_.Finish(); }
  void set_cached_tokens(int cached_tokens) { cached_tokens_ = cached_tokens; }
  // So many tokens were guessed, and the first `accepted` of those that Append gets next are among
  // them.
  void NoteDraft(int drafted, int accepted);

  // Whether a stop string has ended the answer.
  bool stopped() const { return text_.matched_stop().has_value(); }
  int completion_tokens() const { return completion_tokens_; }
  int reasoning_tokens() const { return text_.reasoning_tokens(); }
  int cached_tokens() const { return cached_tokens_; }
  int drafted_tokens() const { return drafted_tokens_; }
  int accepted_tokens() const { return accepted_tokens_; }

  // The last event of the answer, for a call that arrived and was given to a worker group at these
  // times. `finish` is the engine's word on it; null if a stop string ended the answer, and then
  // the times are those that are known here.
  v1::Finished Finished(const EngineFinish* finish, int prompt_tokens, absl::Time arrived_at,
                        absl::Time dispatched_at) const;

 private:
  void CountTokens(int num_tokens, absl::Time now);
  v1::Timings OwnTimings(absl::Time arrived_at, absl::Time dispatched_at) const;

  AnswerText text_;
  const std::vector<int32_t> stop_token_ids_;
  std::optional<int32_t> last_token_;
  CoordinatorMetrics& metrics_;
  int completion_tokens_ = 0;
  int cached_tokens_ = 0;
  int drafted_tokens_ = 0;
  int accepted_tokens_ = 0;
  // Of the tokens that come next.
  int accepted_next_ = 0;
  absl::Time first_token_at_;
  absl::Time last_token_at_;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_SERVER_CHOICE_H_
