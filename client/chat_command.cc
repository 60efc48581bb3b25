#include "client/chat_command.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "client/input_text.h"
#include "client/json_line.h"
#include "client/request_template.h"

namespace phalanx {
namespace {

// Whether the calls can be sent back to the server: their arguments are JSON.
bool CanBeAnswered(const std::vector<v1::ToolCallDelta>& calls) {
  return !calls.empty() && std::all_of(calls.begin(), calls.end(), [](const auto& call) {
    return Json::accept(call.arguments());
  });
}

// Adds an answer with calls, and what the user types as the result of each. False if the input
// ends.
absl::StatusOr<bool> AddResults(CommandContext& context, const CommandContext::AnswerResult& answer,
                                v1::Chat* chat) {
  AddMessage("assistant", answer.text, chat);
  v1::Message& message = *chat->mutable_messages()->rbegin();
  for (const v1::ToolCallDelta& call : answer.calls) {
    v1::ToolCall& made = *message.add_tool_calls();
    made.set_id(call.id());
    made.set_name(call.name());
    made.set_arguments(call.arguments());
  }
  if (answer.text.empty()) message.clear_content();
  Terminal& terminal = context.terminal();
  for (const v1::ToolCallDelta& call : answer.calls) {
    if (terminal.input_is_tty()) {
      RETURN_IF_ERROR(terminal.Write(absl::StrCat("result of ", call.name(), "> ")));
    }
    ASSIGN_OR_RETURN(const std::optional<std::string> result, terminal.ReadLine());
    if (!result.has_value()) return false;
    RETURN_IF_ERROR(CheckUtf8("result", *result));
    AddMessage("tool", *result, chat);
    v1::Message& told = *chat->mutable_messages()->rbegin();
    told.set_tool_call_id(call.id());
    told.set_name(call.name());
  }
  return true;
}

// Asks for the answer to `text` and adds both to the conversation. Where the model calls tools, the
// user gives their results, and the model goes on.
absl::Status TakeTurn(CommandContext& context, const std::string& text, v1::Chat* conversation) {
  RETURN_IF_ERROR(CheckUtf8("message", text));
  v1::GenerateRequest request = RequestTemplate(context.command_line());
  *request.mutable_chat() = *conversation;
  AddMessage("user", text, request.mutable_chat());
  CommandContext::AnswerResult answer = context.Answer(request);
  while (answer.status.ok() && CanBeAnswered(answer.calls)) {
    ASSIGN_OR_RETURN(const bool all, AddResults(context, answer, request.mutable_chat()));
    if (!all) return absl::OkStatus();
    answer = context.Answer(request);
  }
  // An interrupted answer is no failure, and what came of it stays in the conversation.
  const bool stopped = context.interrupted() && absl::IsCancelled(answer.status);
  if (!answer.status.ok() && !stopped) return answer.status;
  // Without an answer the question is dropped too: many templates demand that user and assistant
  // take turns.
  if (!answer.text.empty()) {
    *conversation = request.chat();
    AddMessage("assistant", answer.text, conversation);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Chat(CommandContext& context) {
  Terminal& terminal = context.terminal();
  const bool interactive = terminal.input_is_tty();
  ASSIGN_OR_RETURN(v1::Chat conversation, context.BeginChat());
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
