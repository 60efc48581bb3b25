#include "client/answer_flags.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/message_fields.h"
#include "model/generation/sampling.h"

namespace phalanx {
namespace {

// `name` is show, hide or inline.
ReasoningMode ReasoningModeOf(const std::string& name) {
  if (name == "hide") return ReasoningMode::kHide;
  return name == "inline" ? ReasoningMode::kInline : ReasoningMode::kShow;
}

// "TOKEN:BIAS", where the server checks both values.
std::string AddLogitBias(const std::string& text, v1::Sampling* sampling) {
  const std::vector<std::string> parts = absl::StrSplit(text, ':');
  int32_t token_id = 0;
  float bias = 0.0f;
  if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], &token_id) ||
      !absl::SimpleAtof(parts[1], &bias)) {
    return absl::StrCat("\"", text, "\" is not TOKEN:BIAS, such as 42:-1.5");
  }
  v1::LogitBias& message = *sampling->add_logit_bias();
  message.set_token_id(token_id);
  message.set_bias(bias);
  return "";
}

void AddTokenRules(CLI::App& command, CommandLine* line) {
  command
      .add_option_function<std::vector<std::string>>(
          "--logit_bias",
          [line](const std::vector<std::string>& biases) {
            for (const std::string& bias : biases) {
              const std::string error = AddLogitBias(bias, &line->sampling);
              if (!error.empty()) throw CLI::ValidationError("--logit_bias", error);
            }
          },
          "TOKEN:BIAS, added to the logit of the token, -100 to 100; repeatable")
      ->allow_extra_args(false);
  command
      .add_option("--stop_token_ids", line->stop_token_ids,
                  "End the answer after any of these tokens, with commas between them")
      ->delimiter(',')
      ->allow_extra_args(false);
  command.add_option("--min_new_tokens", line->min_new_tokens,
                     "No token that ends the answer comes before it has this many");
  command.add_option("--stop_on_repetition", line->repetitions,
                     "End the answer once it has this many copies of the same tokens in a row");
}

}  // namespace

void AddSamplingParameters(CLI::App& command, CommandLine* line) {
  const Sampling defaults;
  VisitSampling(defaults, [&](const SamplingParameter& parameter, auto value) {
    using Value = decltype(value);
    const std::string zero =
        parameter.zero_means.empty() ? "" : absl::StrCat(" (0: ", parameter.zero_means, ")");
    command.add_option_function<Value>(
        absl::StrCat("--", parameter.name),
        [line, &parameter](const Value& given) {
          SetField(parameter.name, given, &line->sampling);
        },
        absl::StrCat(parameter.help, zero, "; the model's own by default"));
  });
}

void AddRequestId(CLI::App& command, CommandLine* line) {
  command
      .add_option(
          "--request_id", line->request_id,
          "Id of the calls, for the server's log: 1 to 128 visible ASCII characters; made by "
          "the server by default")
      ->check([](const std::string& id) {
        const bool usable =
            !id.empty() && id.size() <= 128 &&
            std::all_of(id.begin(), id.end(), [](char c) { return absl::ascii_isgraph(c); });
        return usable ? "" : "an id is 1 to 128 visible ASCII characters";
      });
}

void AddLogProbs(CLI::App& command, CommandLine* line) {
  CLI::Option* const json = command.get_option("--json");
  command
      .add_option("--log_probs", line->log_probs,
                  "Tell the log-probability of each token, and those of this many that were "
                  "likeliest, 0 to 20")
      ->needs(json);
  command
      .add_flag("--prompt_log_probs", line->prompt_log_probs,
                "Tell the log-probabilities of the prompt's tokens too")
      ->needs(json);
}

void AddSampling(CLI::App& command, CommandLine* line) {
  command.add_option("--system", line->system, "System message before the conversation");
  command.add_option("--max_new_tokens", line->max_new_tokens,
                     "Most tokens to generate; by default what the context leaves");
  AddSamplingParameters(command, line);
  AddTokenRules(command, line);
  command.add_option_function<uint64_t>(
      "--seed", [line](const uint64_t& seed) { line->sampling.set_seed(seed); },
      "Makes sampling repeatable; random by default");
  command
      .add_option("--stop", line->stop,
                  "End the answer before this string; repeatable. Not searched in the reasoning")
      ->allow_extra_args(false);
  command.add_option(
      "--cache_salt", line->cache_salt,
      "What the server keeps of this prompt serves only requests with the same salt");
  command.add_option("--priority", line->priority,
                     "Which of a tenant's requests go first, -10 to 10: higher ones; 0 by default");
  command.add_option("--tenant", line->tenant,
                     "On whose account the request is: tenants get equal shares of the server");
  command
      .add_option_function<std::string>(
          "--reasoning",
          [line](const std::string& mode) { line->reasoning = ReasoningModeOf(mode); },
          "What becomes of a model's reasoning: show (to standard error), hide, or inline "
          "(in the answer, as the model writes it)")
      ->check(CLI::IsMember({"show", "hide", "inline"}))
      ->default_str("show");
  command.add_option("--max_reasoning_tokens", line->max_reasoning_tokens,
                     "Close the model's reasoning once it has this many tokens; 0 or more");
  command.add_option("--speculation", line->speculation,
                     "Guess up to this many tokens at a time, 1 to 32, by what was in the text "
                     "before: the same answer, sooner where it repeats that");
  AddStreamInterval(command, line);
  AddRequestId(command, line);
  command.add_flag("--stats", line->stats,
                   "Print time to first token and tokens per second to standard error");
}

void AddStreamInterval(CLI::App& command, CommandLine* line) {
  command.add_option("--stream_interval", line->stream_interval,
                     "Get this many tokens at a time, 1 to 256, after the first, which comes at "
                     "once: fewer messages, which cost server and client less");
}

void AddPromptForm(CLI::App& command, CommandLine* line) {
  command.add_option("--template_args", line->template_args,
                     "A JSON object of variables for the model's chat template, such as "
                     "'{\"enable_thinking\": false}'");
  command
      .add_option("--add_bos", line->add_bos,
                  "Whether the prompt begins with the model's bos token; by default as its "
                  "tokenizer or template has it")
      ->type_name("true|false");
}

CLI::Option* AddContinue(CLI::App& command, CommandLine* line) {
  return command.add_option("--continue", line->continue_text,
                            "The beginning of the answer; the model goes on from there");
}

void AddAllowSpecial(CLI::App& command, CommandLine* line) {
  command.add_flag("--allow_special", line->allow_special,
                   "Spellings of control tokens in the text are these tokens");
}

CLI::Option* AddTools(CLI::App& command, CommandLine* line) {
  return command.add_option(
      "--tools", line->tools,
      "File of the functions that the model may call: a JSON array, as OpenAI's API has it");
}

// The tools, and what becomes of calls.
CLI::Option* AddToolUse(CLI::App& command, CommandLine* line) {
  CLI::Option* const tools = AddTools(command, line);
  command
      .add_flag("--parse_tool_calls", line->parse_tool_calls,
                "Take the model's calls out of its answer, and check their arguments")
      ->needs(tools);
  command
      .add_option("--tool_choice", line->tool_choice,
                  "none, auto (the default), required, or the name of the tool to call")
      ->needs(tools);
  return tools;
}

void AddConstraint(CLI::App& command, CommandLine* line) {
  CLI::Option_group* const group =
      command.add_option_group("constraint", "What the answer has to follow");
  group->add_option("--json_schema", line->json_schema,
                    "A JSON Schema: its text, which begins with \"{\", or a file");
  group->add_flag("--json_object", line->json_object, "Any JSON object");
  group->add_option("--regex", line->regex, "A regular expression, for the whole answer");
  group->add_option("--choices", line->choices, "One of these texts, with commas between them")
      ->delimiter(',')
      ->allow_extra_args(false);
  group->add_option("--grammar", line->grammar,
                    "A Lark grammar: its text, which has \"start:\", or a file");
  group->require_option(0, 1);
}

}  // namespace phalanx
