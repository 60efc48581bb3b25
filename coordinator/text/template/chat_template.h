// A model file's own chat template, rendered as transformers' apply_chat_template does.
#ifndef PHALANX_COORDINATOR_TEXT_TEMPLATE_CHAT_TEMPLATE_H_
#define PHALANX_COORDINATOR_TEXT_TEMPLATE_CHAT_TEMPLATE_H_

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "coordinator/text/jinja/jinja_template.h"
#include "coordinator/text/template/conversation.h"
#include "coordinator/text/template/template_context.h"

namespace phalanx {

struct ChatTemplateOptions {
  // Spellings of tokens by the variable that holds them: "bos_token".
  std::map<std::string, std::string> tokens = {};
};

// How a template takes the functions that the model may call.
enum class ToolsInput {
  kNone,
  kVariable,       // As the variable `tools`, a list in OpenAI's form.
  kSystemMessage,  // As JSON text, in the key `tools` of a system message: Phi-4-mini.
};

// Thread-safe; immutable.
class ChatTemplate {
 public:
  // Compiles `source` and tries on made-up conversations what it can do. Errors as of the compiler,
  // which must outlive the result.
  static absl::StatusOr<std::unique_ptr<ChatTemplate>> Create(JinjaCompiler& compiler,
                                                              absl::string_view source,
                                                              ChatTemplateOptions options);

  ToolsInput tools_input() const { return tools_input_; }

  // The conversation as text, with the prompt for an answer at its end if asked for, and with what
  // `caller_text` makes of the callers' strings. INVALID_ARGUMENT: the template refuses or cannot
  // use the conversation, would leave out tools or tool calls in it, or exceeds a limit with it.
  // UNAVAILABLE as of JinjaTemplate.
  absl::StatusOr<std::string> Render(const Conversation& conversation, bool add_generation_prompt,
                                     CallerText caller_text) const;
  absl::StatusOr<std::string> Render(const Conversation& conversation,
                                     bool add_generation_prompt = true) const;

 private:
  explicit ChatTemplate(ChatTemplateOptions options) : options_(std::move(options)) {}

  absl::Status CheckTools(const Conversation& conversation) const;
  absl::Status AddTools(const Conversation& conversation, CallerText caller_text,
                        TemplateValue* context) const;
  bool ShowsTools(ToolsInput input);
  // Finds out how tool calls are shown, if they are.
  void TryToolCalls();
  // What comes of a call beside this content.
  absl::StatusOr<std::string> RenderProbeCall(std::optional<std::string> content) const;

  const ChatTemplateOptions options_;
  std::unique_ptr<JinjaTemplate> template_;
  // Writes the JSON text of kSystemMessage.
  std::unique_ptr<JinjaTemplate> json_writer_;
  ToolsInput tools_input_ = ToolsInput::kNone;
  // Unset if the template leaves tool calls out.
  std::optional<CallForm> call_form_;
  // Whether it leaves them out, without an error, of a message that has content, and of one whose
  // content is empty.
  bool content_hides_calls_ = false;
  bool empty_content_hides_calls_ = false;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_TEMPLATE_CHAT_TEMPLATE_H_
