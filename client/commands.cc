#include "client/commands.h"

#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/options.h"
#include "base/status.h"
#include "client/bench_command.h"
#include "client/chat_command.h"
#include "client/command_context.h"
#include "client/format.h"
#include "client/input_text.h"
#include "client/inspect_command.h"
#include "client/perplexity_command.h"
#include "client/request_template.h"
#include "client/top_command.h"

namespace phalanx {
namespace {

// Asks for what the flags say that the answer has to follow, which may be in files.
absl::Status AddConstraint(CommandContext& context, v1::GenerateRequest* request) {
  const CommandLine& line = context.command_line();
  if (line.json_schema.has_value()) {
    std::string text = *line.json_schema;
    if (!absl::StartsWith(absl::StripLeadingAsciiWhitespace(text), "{")) {
      ASSIGN_OR_RETURN(text, ReadInputFile(text, &context.terminal()));
    }
    request->mutable_constraint()->set_json_schema(text);
  }
  if (line.json_object) request->mutable_constraint()->set_json_object(true);
  if (line.regex.has_value()) request->mutable_constraint()->set_regex(*line.regex);
  if (!line.choices.empty()) {
    request->mutable_constraint()->mutable_choices()->mutable_values()->Add(line.choices.begin(),
                                                                            line.choices.end());
  }
  if (line.grammar.has_value()) {
    std::string text = *line.grammar;
    if (!absl::StrContains(text, "start:")) {
      ASSIGN_OR_RETURN(text, ReadInputFile(text, &context.terminal()));
    }
    request->mutable_constraint()->set_lark(text);
  }
  return CheckUtf8("constraint",
                   absl::StrCat(line.regex.value_or(""), line.grammar.value_or(""),
                                line.json_schema.value_or(""), absl::StrJoin(line.choices, "")));
}

absl::Status Generate(CommandContext& context) {
  const CommandLine& line = context.command_line();
  v1::GenerateRequest request = RequestTemplate(line);
  RETURN_IF_ERROR(AddConstraint(context, &request));
  ASSIGN_OR_RETURN(const std::string prompt,
                   ReadInputText("prompt", line.text, &context.terminal()));
  if (line.raw) {
    request.set_text(prompt);
  } else {
    ASSIGN_OR_RETURN(*request.mutable_chat(), context.BeginChat());
    AddQuestion(line, prompt, request.mutable_chat());
  }
  return context.Answer(request).status;
}

absl::Status Models(CommandContext& context) {
  ASSIGN_OR_RETURN(const v1::ListModelsResponse models,
                   context.client().ListModels(context.call_options()));
  if (!context.command_line().json) return context.terminal().Write(ModelTable(models));
  for (const v1::Model& model : models.models()) {
    RETURN_IF_ERROR(context.terminal().Write(absl::StrCat(ModelJson(model), "\n")));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> Pieces(CommandContext& context,
                                                const v1::TokenizeResponse& tokens) {
  std::vector<std::string> pieces;
  if (context.command_line().pieces) {
    if (tokens.pieces_size() != tokens.token_ids_size()) {
      return absl::UnimplementedError("the server does not tell the places of tokens");
    }
    for (const v1::TokenPiece& piece : tokens.pieces()) pieces.push_back(piece.bytes());
    return pieces;
  }
  // One call for each token, since the text of several does not tell where one ends.
  for (const int32_t id : tokens.token_ids()) {
    v1::DetokenizeRequest request;
    if (context.command_line().model.has_value()) request.set_model(*context.command_line().model);
    request.add_token_ids(id);
    ASSIGN_OR_RETURN(const v1::DetokenizeResponse piece,
                     context.client().Detokenize(request, context.call_options()));
    pieces.push_back(piece.text());
  }
  return pieces;
}

absl::Status Tokenize(CommandContext& context) {
  const CommandLine& line = context.command_line();
  v1::TokenizeRequest request;
  if (line.model.has_value()) request.set_model(*line.model);
  ASSIGN_OR_RETURN(const std::string text, ReadInputText("text", line.text, &context.terminal()));
  if (line.allow_special) request.set_allow_special(true);
  if (line.add_bos.has_value()) request.set_add_bos(*line.add_bos);
  if (line.pieces) request.set_pieces(true);
  if (line.chat) {
    ASSIGN_OR_RETURN(*request.mutable_chat(), context.BeginChat());
    AddQuestion(line, text, request.mutable_chat());
  } else {
    request.set_text(text);
  }
  ASSIGN_OR_RETURN(const v1::TokenizeResponse tokens,
                   context.client().Tokenize(request, context.call_options()));
  if (line.ids_only) {
    return context.terminal().Write(absl::StrCat(absl::StrJoin(tokens.token_ids(), " "), "\n"));
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> pieces, Pieces(context, tokens));
  return context.terminal().Write(line.json ? absl::StrCat(TokensJson(tokens, pieces), "\n")
                                            : TokenTable(tokens, pieces));
}

constexpr absl::string_view kNotReady = "the server is there, but not ready";
// The time for asking once more, after --wait has passed, why the server is not SERVING.
constexpr absl::Duration kReasonTimeout = absl::Seconds(1);

absl::Status NotServingWithin(absl::Duration wait, const absl::StatusOr<ServingState>& now) {
  absl::string_view reason = kNotReady;
  if (!now.ok()) {
    reason = now.status().message();
  } else if (*now == ServingState::kUnknown) {
    reason = "the server does not know this name";
  }
  return absl::UnavailableError(
      absl::StrCat("not SERVING within ", absl::FormatDuration(wait), ": ", reason));
}

absl::StatusOr<ServingState> AskHealth(CommandContext& context, const std::string& service) {
  const CommandLine& line = context.command_line();
  CallOptions options = context.call_options();
  if (line.wait == absl::ZeroDuration()) {
    options.timeout = line.health_timeout;
    return context.client().CheckHealth(service, options);
  }
  options.timeout = line.wait;
  const absl::Status status = context.client().WaitUntilServing(service, options);
  if (absl::IsDeadlineExceeded(status)) {
    options.timeout = kReasonTimeout;
    return NotServingWithin(line.wait, context.client().CheckHealth(service, options));
  }
  RETURN_IF_ERROR(status);
  return ServingState::kServing;
}

absl::Status Health(CommandContext& context) {
  const CommandLine& line = context.command_line();
  const std::string service = line.model.value_or("");
  ASSIGN_OR_RETURN(const ServingState state, AskHealth(context, service));
  RETURN_IF_ERROR(context.terminal().Write(
      absl::StrCat(line.json ? HealthJson(service, state) : ServingStateName(state), "\n")));
  switch (state) {
    case ServingState::kServing:
      return absl::OkStatus();
    case ServingState::kNotServing:
      return absl::UnavailableError(kNotReady);
    case ServingState::kUnknown:
      break;
  }
  return absl::NotFoundError(absl::StrCat("the server does not know \"", service, "\""));
}

absl::Status Run(CommandContext& context) {
  switch (context.command_line().command) {
    case Command::kGenerate:
      return Generate(context);
    case Command::kChat:
      return Chat(context);
    case Command::kModels:
      return Models(context);
    case Command::kTokenize:
      return Tokenize(context);
    case Command::kPerplexity:
      return Perplexity(context);
    case Command::kBench:
      return Bench(context);
    case Command::kHealth:
      return Health(context);
    case Command::kTop:
      return Top(context);
    case Command::kInspect:
      break;  // Has no server to talk to.
  }
  return absl::InternalError("unknown command");
}

}  // namespace

int RunCommand(const CommandLine& command_line, Terminal* terminal) {
  if (command_line.command == Command::kInspect) return Inspect(command_line, terminal);
  CommandContext context(command_line, terminal);
  const absl::Status status = Run(context);
  return context.Report(status);
}

}  // namespace phalanx
