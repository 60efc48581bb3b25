#include "client/chat_command.h"

#include <optional>
#include <string>

#include "base/status.h"
#include "client/input_text.h"

namespace phalanx {
namespace {

// Asks for the answer to `text` and adds both to the conversation.
absl::Status TakeTurn(CommandContext& context, const std::string& text, v1::Chat* conversation) {
  RETURN_IF_ERROR(CheckUtf8("message", text));
  v1::GenerateRequest request = RequestTemplate(context.command_line());
  *request.mutable_chat() = *conversation;
  AddMessage("user", text, request.mutable_chat());
  const auto [status, answer] = context.Answer(request);
  // An interrupted answer is no failure, and what came of it stays in the conversation.
  const bool stopped = context.interrupted() && absl::IsCancelled(status);
  if (!status.ok() && !stopped) return status;
  // Without an answer the question is dropped too: many templates demand that user and assistant
  // take turns.
  if (!answer.empty()) {
    *conversation = request.chat();
    AddMessage("assistant", answer, conversation);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Chat(CommandContext& context) {
  Terminal& terminal = context.terminal();
  const bool interactive = terminal.input_is_tty();
  RETURN_IF_ERROR(CheckUtf8("system", context.command_line().system.value_or("")));
  RETURN_IF_ERROR(CheckUtf8("template_args", context.command_line().template_args.value_or("")));
  v1::Chat conversation = NewConversation(context.command_line());
  if (interactive) terminal.WriteError("Ctrl-C stops an answer, Ctrl-D leaves.\n");
  while (true) {
    if (interactive) RETURN_IF_ERROR(terminal.Write("> "));
    const absl::StatusOr<std::optional<std::string>> text = terminal.ReadLine();
    // Ctrl-C and Ctrl-D leave the cursor behind the prompt.
    if (interactive && !(text.ok() && text->has_value())) terminal.WriteError("\n");
    RETURN_IF_ERROR(text.status());
    if (!text->has_value()) return absl::OkStatus();
    if ((*text)->empty()) continue;
    absl::Status status = TakeTurn(context, **text, &conversation);
    if (terminal.output_closed()) return status;
    if (!status.ok()) {
      if (!interactive) return status;
      context.Report(status);
    }
    // The Ctrl-C that stopped this answer must not end the chat or stop the next one.
    context.ForgetInterrupt();
  }
}

}  // namespace phalanx
