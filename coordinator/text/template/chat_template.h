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
  // The spellings of tokens by the name of the variable that holds them, such as "bos_token".
  std::map<std::string, std::string> tokens = {};
};

// How a template takes the functions that the model may call.
enum class ToolsInput {
  kNone,
  kVariable,       // In the variable `tools`, a list in OpenAI's form.
  kSystemMessage,  // As JSON text in the key `tools` of a system message (Phi-4-mini).
};

// Thread-safe; immutable.
class ChatTemplate {
 public:
  // Compiles `source` and tries on made-up conversations what it can do. Returns the errors of the
  // compiler, which must outlive the result.
  static absl::StatusOr<std::unique_ptr<ChatTemplate>> Create(JinjaCompiler& compiler,
                                                              absl::string_view source,
                                                              ChatTemplateOptions options);

  ToolsInput tools_input() const { return tools_input_; }

  // Returns the conversation as text, with the prompt for an answer at its end if asked for; one
  // that continues its last message ends with that in any case. `caller_text` tells what to write
  // for the callers' strings. INVALID_ARGUMENT if the template refuses or cannot use the
  // conversation, would leave out tools, tool calls or a part of the message to continue, uses the
  // name of a template argument itself, or exceeds a limit with it. UNAVAILABLE as for
  // JinjaTemplate::Render.
  absl::StatusOr<std::string> Render(const Conversation& conversation, bool add_generation_prompt,
                                     CallerText caller_text) const;
  absl::StatusOr<std::string> Render(const Conversation& conversation,
                                     bool add_generation_prompt = true) const;

 private:
  explicit ChatTemplate(ChatTemplateOptions options) : options_(std::move(options)) {}

  absl::Status CheckTools(const Conversation& conversation) const;
  absl::Status AddTools(const Conversation& conversation, CallerText caller_text,
                        TemplateValue* context) const;
  absl::Status AddCallerVariables(const Conversation& conversation, CallerText caller_text,
                                  TemplateValue* context) const;
  bool ShowsTools(ToolsInput input);
  // Finds out how tool calls are shown, if they are.
  void TryToolCalls();
  // Renders a made-up conversation with a tool call in a message of this content.
  absl::StatusOr<std::string> RenderProbeCall(std::optional<std::string> content) const;

  const ChatTemplateOptions options_;
  std::unique_ptr<JinjaTemplate> template_;
  // Writes the JSON text of kSystemMessage.
  std::unique_ptr<JinjaTemplate> json_writer_;
  ToolsInput tools_input_ = ToolsInput::kNone;
  // Unset if the template leaves tool calls out.
  std::optional<CallForm> call_form_;
  // Whether the template leaves out, without an error, the tool calls of a message that has
  // content, and of one whose content is empty.
  bool content_hides_calls_ = false;
  bool empty_content_hides_calls_ = false;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_TEMPLATE_CHAT_TEMPLATE_H_
