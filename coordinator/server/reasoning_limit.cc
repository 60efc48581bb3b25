#include "coordinator/server/reasoning_limit.h"

#include <memory>
#include <utility>

#include "base/status.h"
#include "coordinator/admission/field_error.h"

namespace phalanx {
namespace {

constexpr char kField[] = "reasoning.max_tokens";
constexpr absl::string_view kClosingText = "\n</think>";

// Whether the splitter sees the end of the block in these tokens. It does not where the tag is a
// control token, which has no text.
bool ClosesBlock(const TextService& text, absl::Span<const int32_t> token_ids) {
  ReasoningSplitter splitter(ReasoningSplitter::State::kReasoning);
  splitter.Push(text.NewAnswerDecoder()->Append(token_ids));
  return splitter.state() == ReasoningSplitter::State::kAnswer;
}

}  // namespace

absl::StatusOr<ReasoningLimit> MakeReasoningLimit(const TextService& text, int32_t max_tokens,
                                                  ReasoningSplitter::State begin,
                                                  const std::atomic<bool>& cancelled) {
  if (begin == ReasoningSplitter::State::kAnswer) {
    return Invalid(RefusalKind::kUnsupported, kField,
                   "the model's answers are not known to begin with reasoning; reasoning.split: "
                   "true looks for it all the same");
  }
  // Where the tag is an added token, the model closes its blocks with that one.
  ASSIGN_OR_RETURN(
      EncodedPrompt closing,
      text.EncodeText(kClosingText, {.allow_special = true, .add_bos = false}, cancelled));
  if (closing.token_ids.size() > kMaxCloseTokenIds || !ClosesBlock(text, closing.token_ids)) {
    return Invalid(RefusalKind::kUnsupported, kField,
                   "the model's tokenizer has no tokens whose text is </think>");
  }
  return ReasoningLimit{.max_tokens = max_tokens,
                        .close_token_ids = std::move(closing.token_ids),
                        .opened_by_prompt = begin == ReasoningSplitter::State::kReasoning};
}

}  // namespace phalanx
