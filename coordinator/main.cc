// The coordinator's program: turns requests into tokens, routes them to worker groups, and streams
// text back.
#include <google/protobuf/stubs/logging.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/cpu_budget.h"
#include "base/exit_guard.h"
#include "base/grpc_log.h"
#include "base/host_port.h"
#include "base/log.h"
#include "base/log_writer.h"
#include "base/metrics_endpoint.h"
#include "base/options.h"
#include "base/shutdown_signal.h"
#include "base/status.h"
#include "coordinator/server/coordinator_server.h"
#include "coordinator/server/model_text_service.h"
#include "coordinator/text/answer/reasoning_model.h"
#include "coordinator/text/renderer/render_loop.h"
#include "coordinator/text/renderer/renderer_pool.h"
#include "coordinator/text/template/chat_template_file.h"
#include "model/checkpoint/checkpoint.h"
#include "model/spec/long_rope.h"
#include "prometheus/registry.h"
#include "rpc/listener.h"

namespace phalanx {
namespace {

constexpr int kMaxRenderers = 4;
// How long the process may take to end after --drain_timeout or a second signal. Then it is ended,
// whatever its threads do.
constexpr absl::Duration kEndTimeout = absl::Seconds(5);

struct Flags {
  std::string model;
  std::string model_name;
  std::string chat_template;
  std::vector<std::string> workers;
  HostPort metrics_listen{"127.0.0.1", 9400};
  absl::Duration lame_duck = absl::Seconds(5);
  absl::Duration drain_timeout = absl::Seconds(30);
  std::vector<std::string> ignored_generation_keys;
  LogFormat log_format = LogFormat::kText;
  int nice = 5;
  CoordinatorServer::Options server;
};

void AddTextFlags(CLI::App& app, TextPool::Options* text) {
  app.add_option("--text_threads", text->threads,
                 absl::StrCat("Threads that tokenize; one more takes only texts below ",
                              text->long_text_bytes, " bytes"))
      ->check(CLI::Range(1, 1024));
  app.add_option("--max_queued_texts", text->max_queued,
                 "Texts that may wait to be tokenized; more are refused")
      ->check(CLI::Range(1, 1'000'000));
  app.add_option("--max_queued_text_bytes", text->max_queued_bytes,
                 "Bytes of all texts that wait to be tokenized; more are refused")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
}

void AddFlags(CLI::App& app, Flags* flags) {
  CoordinatorServer::Options& server = flags->server;
  server.listen = {"127.0.0.1", 50051};
  server.text.threads = std::max(1, GetCpuBudget().cpus / 2);
  app.add_option("--model", flags->model,
                 "A GGUF file or a Hugging Face folder, for its tokenizer and chat template")
      ->required();
  app.add_option(
      "--model_name", flags->model_name,
      "What clients call the model; default: the name of its file, folder or Hugging Face "
      "repository");
  app.add_option("--chat_template", flags->chat_template,
                 "File of a Jinja template for conversations, in place of the model's own");
  app.add_option(
         "--ignore_generation_config", flags->ignored_generation_keys,
         "KEY,... of generation_config.json (or of a GGUF file, general.sampling.*) that "
         "would change answers and that this server cannot follow: serve the model without, "
         "in place of refusing it")
      ->delimiter(',');
  app.add_option("--worker", flags->workers,
                 "HOST:PORT of a worker group's leader; repeatable. A name may have several "
                 "addresses, each is a group")
      ->required()
      ->check([](const std::string& text) {
        return std::string(ParseHostPort(text, PortUse::kConnect).status().message());
      });
  AddHostPortOption(app, "--listen", &server.listen, PortUse::kListen,
                    "Where clients connect; [::] is every address of the machine");
  AddHostPortOption(app, "--metrics_listen", &flags->metrics_listen, PortUse::kListen,
                    "Where the /metrics page is");
  AddLogFormatOption(app, &flags->log_format);
  app.add_option_function<std::string>(
         "--longrope",
         [&server](const std::string& policy) {
           server.model.long_rope_policy =
               policy == "admission" ? LongRopePolicy::kAdmission : LongRopePolicy::kReference;
         },
         "How sequences of a LongRoPE model choose their rotary factors: reference (as "
         "transformers: an answer that grows beyond the original context is computed anew, once) "
         "or admission (once, by prompt and max_new_tokens together, where unset means the whole "
         "context)")
      ->check(CLI::IsMember({"admission", "reference"}))
      ->default_str(kDefaultLongRopePolicy == LongRopePolicy::kReference ? "reference"
                                                                         : "admission");
  AddDurationOption(app, "--lame_duck", &flags->lame_duck,
                    "How long calls are still taken after SIGTERM, health saying NOT_SERVING, so "
                    "that load balancers turn elsewhere first; SIGINT skips it");
  AddDurationOption(
      app, "--drain_timeout", &flags->drain_timeout,
      "How long streams may go on after --lame_duck, clients being told to go elsewhere");
  AddDurationOption(app, "--stall_timeout", &server.answer.stall_timeout,
                    "A client that reads nothing for this long loses its request");
  AddDurationOption(
      app, "--self_probe_interval", &server.self_probe.interval,
      "How often the program calls its own port over a new connection; after six calls "
      "in a row without an answer it ends, to be started again. 0s: never");
  app.add_option("--max_requests", server.max_requests,
                 "Requests that are worked on or wait; more are refused")
      ->check(CLI::Range(1, 1'000'000));
  app.add_option("--max_prompt_bytes", server.limits.max_prompt_bytes,
                 "Bytes of text in one request; longer ones are refused")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 29));
  AddTextFlags(app, &server.text);
  app.add_option("--nice", flags->nice,
                 "How far this process steps back behind others that want the same processors, as "
                 "nice(1) has it: worker groups on this machine answer sooner then")
      ->check(CLI::Range(0, 19))
      ->capture_default_str();
}

// Refuses the model if its makers advise something that cannot be followed, unless the operator
// allows that. Logs what is not followed.
absl::Status CheckGenerationDefaults(const Flags& flags, const GenerationDefaults& defaults) {
  RETURN_IF_ERROR(CheckUnfollowed(defaults, flags.ignored_generation_keys));
  for (const UnfollowedDefault& unfollowed : defaults.unfollowed) {
    LOG(WARNING) << defaults.source << ": " << unfollowed.key << ": " << unfollowed.value
                 << " is not followed: answers differ from those that it is advised for";
  }
  for (const std::string& key : flags.ignored_generation_keys) {
    const auto is_key = [&](const UnfollowedDefault& unfollowed) { return unfollowed.key == key; };
    if (std::none_of(defaults.unfollowed.begin(), defaults.unfollowed.end(), is_key)) {
      LOG(WARNING) << "--ignore_generation_config " << key << ": " << defaults.source
                   << " has no such key that would not be followed";
    }
  }
  return absl::OkStatus();
}

// One process for each text thread, but not too many: rendering takes a small part of the time that
// tokenizing does.
absl::StatusOr<std::unique_ptr<RendererPool>> StartRenderers(
    const CoordinatorServer::Options& options) {
  RendererLimits limits;
  // Room for the variables, as JSON, parsed and rendered, and for what the template makes of them.
  limits.max_memory_bytes += 24 * static_cast<size_t>(options.limits.max_prompt_bytes);
  return RendererPool::Start(std::min(options.text.threads + 1, kMaxRenderers), limits);
}

// Fills what the model's files say into `options`, and returns the text processing.
absl::StatusOr<std::unique_ptr<TextService>> LoadModel(const Flags& flags,
                                                       CoordinatorServer::Options* options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> checkpoint, Checkpoint::Open(flags.model));
  const ModelSpec& spec = checkpoint->spec();
  ASSIGN_OR_RETURN(TokenizerAssets assets, checkpoint->ReadTokenizer());
  ASSIGN_OR_RETURN(std::unique_ptr<RendererPool> renderers, StartRenderers(*options));
  if (!flags.chat_template.empty()) {
    ASSIGN_OR_RETURN(assets.chat_template, ReadChatTemplateFile(*renderers, flags.chat_template));
    assets.named_chat_templates.clear();
  }
  options->limits.model_name = flags.model_name.empty() ? spec.name : flags.model_name;
  options->limits.vocab = spec.vocab;
  options->limits.context_tokens = spec.context_tokens;
  options->model.reasons =
      IsReasoningModel(assets, {options->limits.model_name, spec.name, checkpoint->stored_name()});
  options->model.architecture = spec.architecture;
  options->model.eos_token_ids = assets.eos_token_ids;
  options->model.defaults = checkpoint->generation_defaults();
  RETURN_IF_ERROR(CheckGenerationDefaults(flags, options->model.defaults));
  options->limits.default_max_new_tokens = options->model.defaults.max_new_tokens;
  options->limits.default_max_length = options->model.defaults.max_length;
  options->model.original_context_tokens =
      spec.rope.num_lists() == 1 ? 0 : spec.rope.original_context_tokens;
  options->model_fingerprint = checkpoint->fingerprint();
  options->version = VersionString();
  options->model.has_bos_token = assets.bos_token_id >= 0;
  ChatAbilities abilities;
  ASSIGN_OR_RETURN(std::unique_ptr<TextService> text,
                   MakeModelTextService(std::move(assets), std::move(renderers), &abilities));
  options->limits.has_chat_template = abilities.has_chat_template;
  options->model.supports_tools = abilities.supports_tools;
  options->model.tool_call_format = abilities.tool_call_format;
  options->model.named_tool_marks = std::move(abilities.named_tool_marks);
  options->limits.has_tool_call_format = abilities.tool_call_format.has_value();
  return text;
}

// Leaves after `signal`: tells load balancers first, then clients, then lets streams finish.
// Returns early at another signal.
void Drain(const Flags& flags, int signal, CoordinatorServer& server, ShutdownSignal& shutdown) {
  server.BeginLameDuck();
  // A person at a terminal has no load balancers to wait for.
  if (signal == SIGTERM && flags.lame_duck > absl::ZeroDuration()) {
    LOG(INFO) << "SIGTERM: no longer SERVING, but taking calls for "
              << absl::FormatDuration(flags.lame_duck) << " (--lame_duck)";
    if (shutdown.Wait(flags.lame_duck) > 0) return;
  }
  LOG(INFO) << "draining " << server.requests_in_flight() << " requests for at most "
            << absl::FormatDuration(flags.drain_timeout) << " (--drain_timeout)";
  server.Drain([&shutdown] { shutdown.Notify(); });
  const int end = shutdown.Wait(flags.drain_timeout);
  if (end != 0) {
    LOG(WARNING) << (end > 0 ? "a second signal" : "--drain_timeout") << " ends "
                 << server.requests_in_flight() << " requests";
  }
}

absl::Status Run(Flags flags, ShutdownSignal& shutdown) {
  RaiseDescriptorLimit();
  for (const std::string& worker : flags.workers) {
    ASSIGN_OR_RETURN(HostPort target, ParseHostPort(worker, PortUse::kConnect));
    flags.server.workers.push_back(std::move(target));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<TextService> text, LoadModel(flags, &flags.server));
  // Declared before the server, so that it is destroyed after it and guards its destruction.
  std::optional<ExitGuard> exit_guard;
  const auto registry = std::make_shared<prometheus::Registry>();
  ASSIGN_OR_RETURN(const std::unique_ptr<MetricsEndpoint> metrics,
                   MetricsEndpoint::Create(flags.metrics_listen, "coordinator", registry));
  ASSIGN_OR_RETURN(const std::unique_ptr<CoordinatorServer> server,
                   CoordinatorServer::Start(flags.server, std::move(text), *registry));
  const HostPort metrics_address = Dialable({flags.metrics_listen.host, metrics->port()});
  std::cout << "ready grpc=" << server->address() << " metrics=" << metrics_address.ToString()
            << std::endl;
  Drain(flags, shutdown.Wait(), *server, shutdown);
  exit_guard.emplace(&shutdown, kEndTimeout);
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  if (const std::optional<int> exit_code = RunRendererIfAsked(argc, argv)) return *exit_code;
  CLI::App app("Serves a language model over gRPC by way of worker groups.", "coordinator");
  AddStandardOptions(app);
  Flags flags;
  AddFlags(app, &flags);
  if (const std::optional<int> exit_code = ParseCommandLine(app, argc, argv)) return *exit_code;
  // Before any thread is there: each inherits it. Lowering one's own priority does not fail.
  [[maybe_unused]] const int priority = nice(flags.nice);
  // Protobuf would print a line for every request that is not UTF-8.
  google::protobuf::SetLogHandler(nullptr);
  SendGrpcLogToOurs();
  ShutdownSignal shutdown;
  const LogWriter log_writer({.format = flags.log_format});
  const absl::Status status = Run(std::move(flags), shutdown);
  if (status.ok()) return kExitOk;
  LOG(ERROR) << status.message();
  return kExitFailure;
}

}  // namespace
}  // namespace phalanx

int main(int argc, char** argv) { return phalanx::Main(argc, argv); }
