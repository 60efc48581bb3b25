#include "client/perplexity_command.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status.h"
#include "client/format.h"
#include "client/input_text.h"
#include "client/perplexity.h"

namespace phalanx {
namespace {

constexpr int32_t kDefaultWindowTokens = 1024;

// Fills in and checks the window and its stride.
absl::Status ResolveWindow(int32_t context_tokens, PerplexityResult* result) {
  if (result->window_tokens == 0) {
    result->window_tokens = std::min(context_tokens, kDefaultWindowTokens);
  }
  if (result->window_tokens < 2 || result->window_tokens > context_tokens) {
    return absl::InvalidArgumentError(absl::StrCat("window: ", result->window_tokens,
                                                   " is not in [2, ", context_tokens,
                                                   "], the model's context"));
  }
  if (result->stride_tokens == 0) result->stride_tokens = result->window_tokens / 2;
  if (result->stride_tokens >= 1 && result->stride_tokens <= result->window_tokens) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("stride: ", result->stride_tokens,
                                                 " is not in [1, ", result->window_tokens,
                                                 "], the window"));
}

absl::Status ScoreOne(CommandContext& context, const ScoreWindow& window,
                      const google::protobuf::RepeatedField<int32_t>& token_ids,
                      PerplexitySum* sum) {
  v1::ScoreRequest request;
  if (context.command_line().model.has_value()) request.set_model(*context.command_line().model);
  request.mutable_tokens()->mutable_ids()->Add(token_ids.begin() + window.begin,
                                               token_ids.begin() + window.end);
  ASSIGN_OR_RETURN(const std::vector<float> log_probs,
                   context.client().Score(request, context.call_options()));
  // The first score is that of the window's second token.
  sum->Add(absl::MakeConstSpan(log_probs).subspan(window.first_counted - window.begin - 1));
  return absl::OkStatus();
}

}  // namespace

absl::Status Perplexity(CommandContext& context) {
  const CommandLine& line = context.command_line();
  ASSIGN_OR_RETURN(const std::string text,
                   ReadInputFile(*context.command_line().file, &context.terminal()));
  v1::GetModelRequest model_request;
  v1::TokenizeRequest tokenize_request;
  if (line.model.has_value()) {
    model_request.set_model(*line.model);
    tokenize_request.set_model(*line.model);
  }
  ASSIGN_OR_RETURN(const v1::Model model,
                   context.client().GetModel(model_request, context.call_options()));
  PerplexityResult result{
      .model = model.name(), .window_tokens = line.window, .stride_tokens = line.stride};
  RETURN_IF_ERROR(ResolveWindow(model.context_tokens(), &result));
  tokenize_request.set_text(text);
  tokenize_request.set_allow_special(line.allow_special);
  ASSIGN_OR_RETURN(const v1::TokenizeResponse tokens,
                   context.client().Tokenize(tokenize_request, context.call_options()));
  const std::vector<ScoreWindow> windows =
      PlanWindows(tokens.token_ids_size(), result.window_tokens, result.stride_tokens);
  if (windows.empty()) {
    return absl::InvalidArgumentError("the text has fewer than two tokens: nothing to score");
  }
  const bool shows_progress = context.terminal().error_is_tty();
  PerplexitySum sum;
  for (size_t i = 0; i < windows.size(); ++i) {
    if (shows_progress) {
      context.terminal().WriteError(absl::StrFormat("\r%3d %%", 100 * i / windows.size()));
    }
    RETURN_IF_ERROR(ScoreOne(context, windows[i], tokens.token_ids(), &sum));
  }
  if (shows_progress) context.terminal().WriteError("\r     \r");
  result.tokens = sum.num_tokens();
  result.nats_per_token = sum.nats_per_token();
  result.perplexity = sum.perplexity();
  return context.terminal().Write(line.json ? absl::StrCat(PerplexityJson(result), "\n")
                                            : PerplexityLine(result));
}

}  // namespace phalanx
