#include "client/bench_command.h"

#include <fstream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status.h"
#include "client/load_figures.h"
#include "client/load_plan.h"
#include "client/load_report.h"
#include "client/load_runner.h"
#include "client/request_template.h"

namespace phalanx {
namespace {

// How often an interrupt is looked for, and the line on a terminal is written anew.
constexpr absl::Duration kInterval = absl::Milliseconds(100);

absl::Status WriteJson(CommandContext& context, const std::string& path, const std::string& json) {
  if (path == "-") return context.terminal().Write(json);
  std::ofstream file(path);
  file << json;
  file.close();
  if (file) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("json: cannot write ", path));
}

// Equal seeds give equal prompts, so the server must not know them from an earlier run.
v1::GenerateRequest UnknownToThePrefixCache(v1::GenerateRequest request) {
  std::random_device random;
  request.set_cache_salt(absl::StrCat("bench ", random(), " ", random()));
  return request;
}

// Sends requests, with a line on the terminal if there is one.
std::vector<RequestRecord> Send(CommandContext& context, const std::vector<PlannedRequest>& plan,
                                int concurrency) {
  const CommandLine& line = context.command_line();
  LoadRunner runner({.concurrency = concurrency,
                     .timeout = context.call_options().timeout,
                     .request = UnknownToThePrefixCache(RequestTemplate(line))},
                    &context.client(), MonotonicClock());
  Terminal& terminal = context.terminal();
  const bool shows_progress = terminal.error_is_tty();
  std::vector<RequestRecord> records =
      runner.Run(plan, kInterval, [&](const LoadProgress& progress) {
        if (shows_progress) {
          terminal.WriteError(
              absl::StrCat("\r", ProgressLine(progress, static_cast<int>(plan.size())), "\x1b[K"));
        }
        if (context.interrupted()) runner.Stop();
      });
  if (shows_progress) terminal.WriteError("\r\x1b[K");
  return records;
}

absl::Status FirstFailure(const std::vector<RequestRecord>& records, int failed) {
  for (const RequestRecord& record : records) {
    if (record.status().ok()) continue;
    return absl::Status(record.status().code(),
                        absl::StrCat(failed, " of ", records.size(),
                                     " requests failed; the first: ", record.status().message()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Bench(CommandContext& context) {
  const CommandLine& line = context.command_line();
  v1::GetModelRequest model_request;
  if (line.model.has_value()) model_request.set_model(*line.model);
  ASSIGN_OR_RETURN(const v1::Model model,
                   context.client().GetModel(model_request, context.call_options()));
  std::vector<PlannedRequest> plan = PlanLoad(line.load, model.vocab_size());
  const auto warm_end = plan.begin() + line.load.warmup;
  const std::vector<PlannedRequest> warmup(plan.begin(), warm_end);
  plan.erase(plan.begin(), warm_end);
  const std::vector<RequestRecord> warm = Send(context, warmup, line.load.concurrency);
  // What cannot be answered once is not asked a thousand times.
  if (!context.interrupted()) RETURN_IF_ERROR(FirstFailure(warm, static_cast<int>(warm.size())));

  std::vector<RequestRecord> records;
  if (!context.interrupted()) records = Send(context, plan, line.load.concurrency);
  const LoadSetting setting = {.target = line.target,
                               .model = model.name(),
                               .options = line.load,
                               .interrupted = context.interrupted()};
  const LoadFigures figures = Summarize(records, setting.interrupted);
  // With the JSON on standard output, the table would be in its way.
  if (line.json_path != "-") {
    // An interrupt would make Write fail only where the reader stalls.
    RETURN_IF_ERROR(context.terminal().Write(LoadTable(setting, figures)));
  }
  if (!line.json_path.empty()) {
    RETURN_IF_ERROR(WriteJson(context, line.json_path, LoadJson(setting, figures)));
  }
  if (setting.interrupted) return absl::CancelledError("interrupted");
  return FirstFailure(records, figures.failed());
}

}  // namespace phalanx
