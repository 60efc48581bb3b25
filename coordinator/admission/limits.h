// What a request may ask for.
#ifndef PHALANX_COORDINATOR_ADMISSION_LIMITS_H_
#define PHALANX_COORDINATOR_ADMISSION_LIMITS_H_

#include <algorithm>
#include <cstdint>
#include <string>

namespace phalanx {

struct RequestLimits {
  // --- From the model. ---
  std::string model_name;
  int vocab = 0;
  // Prompt and answer together.
  int context_tokens = 0;
  // Without one, chat input is refused.
  bool has_chat_template = false;
  // What an unset max_new_tokens means. Tokens of the answer; 0: the model does not say.
  int default_max_new_tokens = 0;
  // Tokens of prompt and answer together, heeded if default_max_new_tokens is 0. Where this is 0
  // too, an answer may fill the context.
  int default_max_length = 0;

  // --- From the operator. ---

  // Of one conversation.
  int max_messages = 1024;
  // Text, or all contents of a conversation together.
  int64_t max_prompt_bytes = int64_t{1} << 20;
  // Of one Detokenize call.
  int max_detokenize_tokens = 1 << 17;

  // Of one request on the wire, compressed or not: the text, and as much again for what is beside
  // it (roles, tools, ids).
  int64_t max_message_bytes() const {
    return std::max<int64_t>(int64_t{4} << 20, 2 * max_prompt_bytes);
  }
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_ADMISSION_LIMITS_H_
