// phalanx-worker: one rank of a worker group; rank 0 leads the group and serves it.

#include <signal.h>

#include "absl/strings/str_cat.h"
#include "base/grpc_log.h"
#include "base/log.h"
#include "base/log_writer.h"
#include "base/options.h"
#include "base/shutdown_signal.h"
#include "worker/choose_platform.h"
#include "worker/constraint/constraint_check.h"
#include "worker/leader.h"
#include "worker/member.h"
#include "worker/worker_options.h"

namespace {

int Fail(const absl::Status& status, int exit_code) {
  LOG(ERROR) << status;
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  if (const auto exit_code = phalanx::RunConstraintCheckIfAsked(argc, argv)) return *exit_code;
  CLI::App app("Runs a language model for Phalanx coordinators, split over one or more ranks.",
               "worker");
  phalanx::WorkerOptions options;
  phalanx::AddStandardOptions(app);
  phalanx::AddWorkerOptions(app, options);
  if (const std::optional<int> exit_code = phalanx::ParseCommandLine(app, argc, argv)) {
    return *exit_code;
  }
  if (options.group_size() > 1) phalanx::SetLogTag(absl::StrCat("rank ", options.rank));
  phalanx::SendGrpcLogToOurs();
  const phalanx::LogWriter log_writer({.format = options.log_format});
  if (const absl::Status status = phalanx::CheckWorkerOptions(options); !status.ok()) {
    return Fail(status, phalanx::kExitUsage);
  }

  // The process that started this one may have ignored it. Then nobody could tell how a rank ended.
  signal(SIGCHLD, SIG_DFL);
  phalanx::ShutdownSignal shutdown;
  const absl::StatusOr<phalanx::Platform> platform = phalanx::ChoosePlatform(options);
  if (!platform.ok()) return Fail(platform.status(), phalanx::kExitFailure);
  phalanx::ApplyDefaults(platform->defaults, app, options);
  if (const absl::Status status = phalanx::CheckWorkerOptions(options); !status.ok()) {
    return Fail(status, phalanx::kExitUsage);
  }
  const absl::Status status = options.rank == 0
                                  ? phalanx::RunLeader(std::move(options), *platform, shutdown)
                                  : phalanx::RunMember(options, *platform, shutdown);
  if (absl::IsCancelled(status) && shutdown.pending()) {
    LOG(INFO) << "stopped by a signal: " << status.message();
    return phalanx::kExitOk;
  }
  return status.ok() ? phalanx::kExitOk : Fail(status, phalanx::kExitFailure);
}
