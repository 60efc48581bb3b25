// What a request may ask for.
#ifndef PHALANX_COORDINATOR_ADMISSION_LIMITS_H_
#define PHALANX_COORDINATOR_ADMISSION_LIMITS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

namespace phalanx {

// The same for every model and operator: answers of one call, stop strings, and bytes of one.
inline constexpr int kMaxChoices = 16;
inline constexpr int kMaxStops = 16;
inline constexpr size_t kMaxStopBytes = 256;
// Of the text of a constraint. As worker/constraint/constraint_source.h.
inline constexpr size_t kMaxConstraintBytes = 64 << 10;
inline constexpr int kMaxConstraintChoices = 1024;

struct RequestLimits {
  // model_name, vocab, context_tokens, has_chat_template and the two defaults come from the model,
  // all other limits from the operator.
  std::string model_name;
  int vocab = 0;
  // Limit on the tokens of prompt and answer together.
  int context_tokens = 0;
  // Without a chat template, chat input is refused.
  bool has_chat_template = false;
  // Without a known format of tool calls, these are not parsed.
  bool has_tool_call_format = false;
  // What an unset max_new_tokens means, in tokens of the answer; 0 if the model does not say.
  int default_max_new_tokens = 0;
  // The same in tokens of prompt and answer together. Used if default_max_new_tokens is 0. If this
  // is 0 too, an answer may fill the context.
  int default_max_length = 0;

  // Limit on the messages of one conversation.
  int max_messages = 1024;
  // Limit on the bytes of a text, or of all contents of a conversation together.
  int64_t max_prompt_bytes = int64_t{1} << 20;
  // Limit on the ids of one Detokenize call.
  int max_detokenize_tokens = 1 << 17;

  // Limit on the size of one request on the wire, compressed or not: the text, and as much again
  // for what is beside it (roles, tools, ids).
  int64_t max_message_bytes() const {
    return std::max<int64_t>(int64_t{4} << 20, 2 * max_prompt_bytes);
  }
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_ADMISSION_LIMITS_H_
