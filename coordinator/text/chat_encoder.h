// Conversations to token ids: the template's control tokens count, their spellings inside messages
// do not.
//
// The template is rendered twice: with the messages, and with a random marker in place of each
// content. If putting the contents in place of their markers gives the first text, then that tells
// which bytes of it callers wrote, and no control token is found there. A template that looks into
// contents (trims or splits them) fails this comparison; then a conversation is refused if a
// content spells a control token, as nothing could keep the two apart.
#ifndef PHALANX_COORDINATOR_TEXT_CHAT_ENCODER_H_
#define PHALANX_COORDINATOR_TEXT_CHAT_ENCODER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "coordinator/text/chat_template.h"
#include "coordinator/text/tokenizer.h"

namespace phalanx {

struct EncodedText {
  std::vector<int32_t> token_ids;
  // What was tokenized.
  std::string text;
};

// The errors of ChatTemplate::Render, and INVALID_ARGUMENT naming the message for what is said
// above. `marker` is text that no caller can guess.
absl::StatusOr<EncodedText> EncodeChat(const Tokenizer& tokenizer,
                                       const ChatTemplate& chat_template,
                                       absl::Span<const ChatMessage> messages,
                                       const std::string& marker,
                                       bool add_generation_prompt = true);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_CHAT_ENCODER_H_
