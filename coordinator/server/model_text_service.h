// The text processing of one model, as the server uses it.
#ifndef PHALANX_COORDINATOR_SERVER_MODEL_TEXT_SERVICE_H_
#define PHALANX_COORDINATOR_SERVER_MODEL_TEXT_SERVICE_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/server/text_service.h"
#include "coordinator/text/answer/tool_call_format.h"
#include "coordinator/text/jinja/jinja_template.h"
#include "model/text/tokenizer_assets.h"

namespace phalanx {

// What the model can take beside plain text.
struct ChatAbilities {
  bool has_chat_template = false;
  bool supports_tools = false;
  // How the model writes tool calls, if that is known.
  std::optional<ToolCallFormat> tool_call_format = std::nullopt;
  // As FindNamedMarks has it.
  std::vector<std::string> named_tool_marks = {};
};

// Makes the text processing of a model and fills in `abilities`. Of several templates, the one
// named "tool_use" renders conversations with tools, as in transformers; the unnamed one, or else
// the one named "default", renders all others. Errors are those of the tokenizer and of the chat
// template, on assets that they cannot use.
absl::StatusOr<std::unique_ptr<TextService>> MakeModelTextService(
    TokenizerAssets assets, std::unique_ptr<JinjaCompiler> jinja, ChatAbilities* abilities);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_SERVER_MODEL_TEXT_SERVICE_H_
