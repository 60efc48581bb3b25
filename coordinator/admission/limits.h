// What a request may ask for.
#ifndef PHALANX_COORDINATOR_ADMISSION_LIMITS_H_
#define PHALANX_COORDINATOR_ADMISSION_LIMITS_H_

#include <cstdint>
#include <string>

namespace phalanx {

// The first four come from the model, the others from the operator.
struct RequestLimits {
  std::string model_name;
  int vocab = 0;
  // Prompt and answer together.
  int context_tokens = 0;
  // Without one, chat input is refused.
  bool has_chat_template = false;

  // Of one conversation.
  int max_messages = 1024;
  // Text, or all contents of a conversation together.
  int64_t max_prompt_bytes = int64_t{1} << 20;
  // Of one Detokenize call.
  int max_detokenize_tokens = 1 << 17;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_ADMISSION_LIMITS_H_
