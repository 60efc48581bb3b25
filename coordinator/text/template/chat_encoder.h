// Turns conversations into token ids. The control tokens that the template writes count, their
// spellings in what callers wrote do not.
//
// The template is rendered twice: with the callers' strings (contents, and all strings and keys of
// tools and tool calls), and with a random marker in place of each. If putting the strings, as they
// are or as JSON spells them, in place of their markers gives the first text, then that tells which
// bytes of it callers wrote, and no control token is found there. A template that looks into
// strings (trims or splits contents, asks whether a parameter's type is "string") fails this
// comparison. Then it is done again with markers only for strings that could be a part of a control
// token's spelling. If that fails too, a conversation is refused if a string in it spells a control
// token, as nothing could keep the two apart.
#ifndef PHALANX_COORDINATOR_TEXT_TEMPLATE_CHAT_ENCODER_H_
#define PHALANX_COORDINATOR_TEXT_TEMPLATE_CHAT_ENCODER_H_

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/text/template/chat_template.h"
#include "coordinator/text/template/conversation.h"
#include "coordinator/text/tokenizer/tokenizer.h"

namespace phalanx {

struct EncodedText {
  std::vector<int32_t> token_ids;
  // The text that was tokenized.
  std::string text;
  // If it was asked for, the bytes of the text that each token stands for; see Tokenizer::Encode.
  std::vector<TextSpan> spans = {};
};

// Returns the errors of ChatTemplate::Render, and INVALID_ARGUMENT, naming the field, if a string
// spells a control token that cannot be kept apart from the template's. `marker` is text that no
// caller can guess. `cancelled` is used as in Tokenizer::Encode.
// `with_spans` asks for EncodedText::spans.
absl::StatusOr<EncodedText> EncodeChat(const Tokenizer& tokenizer,
                                       const ChatTemplate& chat_template,
                                       const Conversation& conversation, const std::string& marker,
                                       bool add_generation_prompt = true,
                                       const std::atomic<bool>* cancelled = nullptr,
                                       bool with_spans = false);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_TEMPLATE_CHAT_ENCODER_H_
