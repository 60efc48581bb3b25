// A model file's own chat template, written in Jinja.
#ifndef PHALANX_COORDINATOR_TEXT_CHAT_TEMPLATE_H_
#define PHALANX_COORDINATOR_TEXT_CHAT_TEMPLATE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

namespace phalanx {

struct ChatMessage {
  std::string role;  // UTF-8, as is `content`.
  std::string content;
};

struct ChatTemplateOptions {
  // Spellings, for the variables of these names.
  std::string bos_token;
  std::string eos_token;
  // Bounds of one rendering; a real template takes some tens of steps for a message.
  uint64_t max_steps = 10'000'000;
  size_t max_output_bytes = 64 << 20;
  // Of what the template makes, beside the messages and the output; also in compiling, and in all
  // that renderings leave behind for ever. Eight times as much is reserved as stack, not used.
  size_t max_memory_bytes = 32 << 20;
  // Also of compiling. A step that takes no memory is not cut short.
  absl::Duration max_time = absl::Seconds(10);
};

// A model's own Jinja template, rendered as transformers' apply_chat_template does. Thread-safe;
// immutable.
class ChatTemplate {
 public:
  // INVALID_ARGUMENT telling where the syntax of `source` is wrong, or which bound it exceeds.
  static absl::StatusOr<std::unique_ptr<ChatTemplate>> Create(absl::string_view source,
                                                              ChatTemplateOptions options);

  // The conversation as text, with the prompt for an answer at its end if asked for.
  // INVALID_ARGUMENT: the template refuses or cannot use the messages. RESOURCE_EXHAUSTED: a limit
  // of the options.
  absl::StatusOr<std::string> Render(absl::Span<const ChatMessage> messages,
                                     bool add_generation_prompt = true) const;

 private:
  struct Free {
    void operator()(void* compiled) const;
  };

  explicit ChatTemplate(ChatTemplateOptions options) : options_(std::move(options)) {}

  const ChatTemplateOptions options_;
  std::unique_ptr<void, Free> compiled_;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_CHAT_TEMPLATE_H_
