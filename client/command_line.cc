#include "client/command_line.h"

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/host_port.h"
#include "base/options.h"
#include "client/answer_flags.h"
#include "client/exit_code.h"
#include "client/format.h"
#include "client/inspection_format.h"
#include "client/load_report.h"
#include "client/top_view.h"
#include "model/sharding/kv_type.h"

namespace phalanx {
namespace {

// Empty if a client can connect to `target`.
std::string TargetError(const std::string& target) {
  return std::string(ParseHostPort(target, PortUse::kConnect).status().message());
}

CLI::App* AddCommand(CLI::App& app, const std::string& name, const std::string& help,
                     CommandLine* line) {
  CLI::App* const command = app.add_subcommand(name, help);
  command
      ->add_option("--target", line->target,
                   "HOST:PORT of the coordinator; the default can be set as PHALANX_TARGET")
      ->type_name("HOST:PORT")
      ->check(TargetError)
      ->capture_default_str();
  return command;
}

void AddTimeout(CLI::App& command, CommandLine* line) {
  AddDurationOption(command, "--timeout", &line->timeout, "Time for each call; 0s means no limit");
}

void AddModel(CLI::App& command, CommandLine* line) {
  command.add_option("--model", line->model, "Name of the model; the server's only one by default");
}

CLI::App* AddGenerate(CLI::App& app, CommandLine* line) {
  CLI::App* const command = AddCommand(app, "generate", "Answer one prompt, streaming", line);
  command->add_option("prompt", line->text, "The prompt; \"-\" or nothing reads standard input");
  AddModel(*command, line);
  AddSampling(*command, line);
  AddTimeout(*command, line);
  AddToolUse(*command, line);
  AddConstraint(*command, line);
  AddPromptForm(*command, line);
  AddContinue(*command, line);
  command->add_flag("--raw", line->raw, "Continue the prompt as it is, without a chat template")
      ->excludes("--system")
      ->excludes("--tools")
      ->excludes("--template_args")
      ->excludes("--continue");
  AddAllowSpecial(*command, line);
  command->add_option("--n", line->n,
                      "Answers to the one prompt, 1 to 16, with the seeds from --seed on; each is "
                      "printed when it is whole");
  command->add_flag("--json", line->json, "One JSON object per event and line");
  AddLogProbs(*command, line);
  command->footer(absl::StrCat(GenerateJsonHelp(), "\n\n", ExitCodeHelp()));
  return command;
}

CLI::App* AddChat(CLI::App& app, CommandLine* line) {
  CLI::App* const command =
      AddCommand(app, "chat", "Hold a conversation; Ctrl-C stops an answer, Ctrl-D leaves", line);
  AddModel(*command, line);
  AddSampling(*command, line);
  AddToolUse(*command, line);
  AddTimeout(*command, line);
  AddPromptForm(*command, line);
  command->footer(std::string(ExitCodeHelp()));
  return command;
}

CLI::App* AddModels(CLI::App& app, CommandLine* line) {
  CLI::App* const command = AddCommand(app, "models", "List what the server serves", line);
  AddTimeout(*command, line);
  command->add_flag("--json", line->json, "One JSON object per model and line");
  command->footer(std::string(ExitCodeHelp()));
  return command;
}

CLI::App* AddTokenize(CLI::App& app, CommandLine* line) {
  CLI::App* const command = AddCommand(app, "tokenize", "Show a text as tokens", line);
  command->add_option("text", line->text, "The text; \"-\" or nothing reads standard input");
  AddModel(*command, line);
  AddTimeout(*command, line);
  CLI::Option* const chat =
      command->add_flag("--chat", line->chat, "Render as a user's message with the chat template");
  AddTools(*command, line)->needs(chat);
  AddPromptForm(*command, line);
  command->get_option("--template_args")->needs(chat);
  AddContinue(*command, line)->needs(chat);
  AddAllowSpecial(*command, line);
  AddRequestId(*command, line);
  CLI::Option* const ids = command->add_flag("--ids", line->ids_only, "Only the ids, on one line");
  command
      ->add_flag("--pieces", line->pieces,
                 "Also which bytes of the text, BEGIN-END, each token stands for")
      ->excludes(ids);
  command
      ->add_flag(
          "--json", line->json,
          "One JSON object: token_ids, pieces, text (as tokenized); with --pieces also spans "
          "[[begin, end], ...] and piece_bytes, in hexadecimal")
      ->excludes(ids);
  command->footer(std::string(ExitCodeHelp()));
  return command;
}

CLI::App* AddPerplexity(CLI::App& app, CommandLine* line) {
  CLI::App* const command =
      AddCommand(app, "perplexity", "Measure how well the model predicts a text", line);
  command->add_option("--file", line->file, "The text, UTF-8; \"-\" reads standard input")
      ->required();
  command
      ->add_option("--window", line->window,
                   "Tokens scored at once; the model's context by default, at most 1024")
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--stride", line->stride,
                   "How far the next window begins behind the last; half a window by default")
      ->check(CLI::PositiveNumber);
  AddAllowSpecial(*command, line);
  AddModel(*command, line);
  AddTimeout(*command, line);
  command->add_flag("--json", line->json,
                    "One JSON object: model, tokens, nats_per_token, perplexity, window, stride");
  command->footer(std::string(ExitCodeHelp()));
  return command;
}

void AddLengthRange(CLI::App& command, const std::string& name, LengthRange* range,
                    const std::string& help) {
  command
      .add_option_function<std::string>(
          name, [range](const std::string& text) { ParseLengthRange(text, range); }, help)
      ->check([](const std::string& text) {
        LengthRange ignored;
        return ParseLengthRange(text, &ignored) ? "" : text + " is no length such as 128 or 64-256";
      })
      ->type_name("N or N-M")
      ->default_str(LengthRangeText(*range));
}

CLI::App* AddBench(CLI::App& app, CommandLine* line) {
  CLI::App* const command =
      AddCommand(app, "bench", "Measure throughput and latency of a server under load", line);
  LoadOptions& load = line->load;
  command->add_option("--requests", load.requests, "Requests that are measured")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("--concurrency", load.concurrency, "Requests at once, at most")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  AddLengthRange(*command, "--prompt_tokens", &load.prompt_tokens,
                 "Length of prompts, of random tokens: a number, or a range to draw from");
  AddLengthRange(*command, "--output_tokens", &load.output_tokens,
                 "Length of answers, which go on after an end-of-sequence token");
  command
      ->add_option("--rate", load.rate,
                   "Requests a second on average, at random intervals. One that finds "
                   "--concurrency others under way waits, which counts as its own time. 0 sends "
                   "each as soon as another one has ended")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  command
      ->add_option("--warmup", load.warmup,
                   "Requests that are sent before and not measured; if one fails, nothing is")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  command
      ->add_option("--seed", load.seed,
                   "Of lengths, prompts and intervals: equal seeds, equal load")
      ->capture_default_str();
  AddStreamInterval(*command, line);
  AddModel(*command, line);
  AddSamplingParameters(*command, line);
  AddTimeout(*command, line);
  command
      ->add_option("--json", line->json_path,
                   "A file for the results; \"-\" is standard output, in "
                   "place of the table")
      ->type_name("FILE");
  command->footer(absl::StrCat("Ctrl-C ends it and prints what is known by then.\n\n",
                               BenchJsonHelp(), "\n\n", ExitCodeHelp()));
  return command;
}

CLI::App* AddHealth(CLI::App& app, CommandLine* line) {
  CLI::App* const command =
      AddCommand(app, "health", "Exit with 0 if and only if the server is SERVING", line);
  command->add_option("--model", line->model,
                      "Ask for this model or service; the server as a whole by default");
  AddDurationOption(*command, "--wait", &line->wait, "Wait this long until it is SERVING");
  AddDurationOption(*command, "--timeout", &line->health_timeout, "Time for asking without --wait");
  command->add_flag("--json", line->json, "One JSON object: service, status");
  command->footer(std::string(ExitCodeHelp()));
  return command;
}

CLI::App* AddTop(CLI::App& app, CommandLine* line) {
  CLI::App* const command =
      app.add_subcommand("top", "Show what a worker group is doing, until q or Ctrl-C");
  command
      ->add_option("--worker", line->worker,
                   "HOST:PORT of the worker's leader, as its ready line tells it behind grpc=")
      ->type_name("HOST:PORT")
      ->check(TargetError)
      ->capture_default_str();
  AddDurationOption(*command, "--interval", &line->interval, "Time between two looks");
  command->add_flag("--once", line->once, "Look once and leave");
  AddDurationOption(*command, "--timeout", &line->health_timeout, "Time for each look");
  command->add_flag("--json", line->json, "One JSON object per look and line");
  command->footer(absl::StrCat(
      "Requests are sorted by age and have the numbers that the worker knows them by. Shows "
      "neither\ntexts nor tokens.\n\n",
      TopJsonHelp(), "\n\n", ExitCodeHelp()));
  return command;
}

CLI::App* AddInspect(CLI::App& app, CommandLine* line) {
  CLI::App* const command = app.add_subcommand(
      "inspect", "Tell what a model on disk is, what it takes, and whether it would be served");
  command->add_option("path", line->path, "A GGUF file or a Hugging Face folder")
      ->required()
      ->type_name("MODEL");
  command->add_option("--tp", line->tp, "Ranks that share every layer, as the worker's --tp")
      ->check(CLI::Range(1, 64));
  command
      ->add_option("--device", line->device,
                   "What it would be served on: cpu; or cuda, NVIDIA GPUs, one for each rank")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  std::vector<std::string> kv_types = {"auto"};
  for (const KvType type : kAllKvTypes) kv_types.emplace_back(KvTypeName(type));
  command
      ->add_option("--kv_cache_dtype", line->kv_cache_dtype,
                   "What keys and values are kept in, as the worker's --kv_cache_dtype: f32, bf16, "
                   "int8, or on GPUs fp8; auto is bf16")
      ->check(CLI::IsMember(kv_types))
      ->capture_default_str();
  command
      ->add_option("--memory", line->memory_bytes,
                   "Memory of each rank on CPUs, for example 16GiB; by default that of this "
                   "machine (of this container, if it has a limit) divided by --tp")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true).description(""))
      ->type_name("SIZE");
  command
      ->add_option("--gpu_memory", line->gpu_bytes,
                   "Memory of each GPU, for example 141GB; 80GiB by default")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true).description(""))
      ->type_name("SIZE");
  command->add_flag("--json", line->json, "One JSON object, sizes in bytes");
  command->footer(absl::StrCat(InspectJsonHelp(),
                               "\n\nNeeds no server. Exit codes:\n"
                               "  0    the model would be served\n"
                               "  1    any other failure\n"
                               "  2    bad command line\n"
                               "  4    it would be refused, or there is no model at that path\n"
                               "  141  standard output was closed by its reader"));
  return command;
}

}  // namespace

std::optional<int> ParseClientCommandLine(int argc, char** argv, CommandLine* line) {
  CLI::App app("Client of Phalanx servers.", "phalanx");
  AddStandardOptions(app);
  app.require_subcommand(1);
  // CLI11's envname is not used, because it would let the variable override a --target of another
  // subcommand.
  if (const char* const target = secure_getenv("PHALANX_TARGET")) line->target = target;
  const std::pair<CLI::App*, Command> commands[] = {
      {AddGenerate(app, line), Command::kGenerate},
      {AddChat(app, line), Command::kChat},
      {AddModels(app, line), Command::kModels},
      {AddTokenize(app, line), Command::kTokenize},
      {AddPerplexity(app, line), Command::kPerplexity},
      {AddBench(app, line), Command::kBench},
      {AddHealth(app, line), Command::kHealth},
      {AddTop(app, line), Command::kTop},
      {AddInspect(app, line), Command::kInspect},
  };
  app.footer(std::string(ExitCodeHelp()));
  const std::optional<int> exit_code = ParseCommandLine(app, argc, argv);
  if (exit_code.has_value()) return exit_code;
  for (const auto& [app_command, command] : commands) {
    if (app_command->parsed()) line->command = command;
  }
  if (line->command == Command::kTop) {
    line->target = line->worker;
    line->timeout = line->health_timeout;
  }
  // CLI11 checks only what stands on the command line, and not a value from the environment.
  const std::string error = TargetError(line->target);
  if (!error.empty() && line->command != Command::kInspect) {
    std::cerr << "phalanx: PHALANX_TARGET: " << error << "\n";
    return kExitUsage;
  }
  return std::nullopt;
}

}  // namespace phalanx
