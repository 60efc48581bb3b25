// What a command line of `phalanx` asks for.
#ifndef PHALANX_CLIENT_COMMAND_VALUES_H_
#define PHALANX_CLIENT_COMMAND_VALUES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/load_plan.h"
#include "phalanx/v1/inference.pb.h"

namespace phalanx {

// What becomes of a model's reasoning.
enum class ReasoningMode {
  kShow,  // To standard error.
  kHide,
  kInline,  // Left in the answer as the model writes it.
};

enum class Command {
  kGenerate,
  kChat,
  kModels,
  kTokenize,
  kPerplexity,
  kBench,
  kHealth,
  kTop,
  kInspect
};

// What is unset is left to the server.
struct CommandLine {
  Command command = Command::kGenerate;
  std::string target = "127.0.0.1:50051";
  std::optional<std::string> model;
  // The time for each call of all commands but health. Zero means no limit.
  absl::Duration timeout;
  bool json = false;
  // generate, chat and tokenize: the id of the calls; empty leaves it to the server.
  std::string request_id = "";

  // generate and tokenize: the text, unset or "-" for standard input.
  std::optional<std::string> text;
  // generate, chat and tokenize: the path of a file with the tools that the model may call.
  std::optional<std::string> tools;
  // generate and chat: whether calls are taken out of the answer, and "none", "auto", "required" or
  // the name of the tool that the model must call.
  bool parse_tool_calls = false;
  std::optional<std::string> tool_choice;

  // generate and chat.
  std::optional<std::string> system;
  // The sampling parameters that are set by flags.
  v1::Sampling sampling;
  std::optional<int32_t> max_new_tokens;
  std::vector<std::string> stop;
  std::vector<int32_t> stop_token_ids;
  std::optional<int32_t> min_new_tokens;
  // How many of the likeliest tokens are told with each, and whether the prompt's are told too.
  std::optional<int32_t> log_probs;
  bool prompt_log_probs = false;
  // The answer ends once it has so many copies of the same tokens in a row.
  std::optional<int32_t> repetitions;
  // How many tokens are guessed at a time.
  std::optional<int32_t> speculation;
  // How many tokens an event has.
  std::optional<int32_t> stream_interval;
  std::optional<std::string> cache_salt;
  std::optional<int32_t> priority;
  std::optional<std::string> tenant;
  // What the answer has to follow, each as the flag has it; at most one is set.
  std::optional<std::string> json_schema;
  bool json_object = false;
  std::optional<std::string> regex;
  std::vector<std::string> choices;
  std::optional<std::string> grammar;
  ReasoningMode reasoning = ReasoningMode::kShow;
  std::optional<int32_t> max_reasoning_tokens;
  bool stats = false;
  // generate: the number of answers.
  std::optional<int32_t> n;
  // generate and tokenize: the beginning of the answer, which goes on from there.
  std::optional<std::string> continue_text;
  // generate, chat and tokenize: a JSON object of variables for the chat template, and whether the
  // prompt begins with the bos token.
  std::optional<std::string> template_args;
  std::optional<bool> add_bos;

  // generate: continue the text without the model's chat template.
  bool raw = false;

  // generate, tokenize and perplexity: spellings of control tokens in the text are these tokens.
  bool allow_special = false;

  // tokenize.
  bool chat = false;
  bool ids_only = false;
  bool pieces = false;

  // perplexity: the path of the text, "-" for standard input, and window and stride, where 0 means
  // the default.
  std::optional<std::string> file;
  int32_t window = 0;
  int32_t stride = 0;

  // bench: what is sent, and where the results go as JSON; empty is nowhere, "-" standard output.
  LoadOptions load;
  std::string json_path;

  // health: how long to wait for SERVING. Zero asks once, for health_timeout at most.
  absl::Duration wait;
  absl::Duration health_timeout = absl::Seconds(5);

  // top: the worker, the time between two looks, and whether one look is enough.
  std::string worker = "127.0.0.1:50061";
  absl::Duration interval = absl::Seconds(1);
  bool once = false;

  // inspect: the path of the model, the number of ranks that share it, and the memory of each. If
  // memory_bytes is unset, each has an equal part of this machine's. On GPUs each has gpu_bytes, or
  // 80 GiB.
  std::optional<std::string> path;
  std::string device = "cpu";           // Or "cuda".
  std::string kv_cache_dtype = "auto";  // Or a name of KvType.
  int tp = 1;
  std::optional<uint64_t> memory_bytes;
  std::optional<uint64_t> gpu_bytes;
};

}  // namespace phalanx

#endif  // PHALANX_CLIENT_COMMAND_VALUES_H_
