#include "base/grpc_log.h"

#include <grpc/support/log.h>

#include "absl/strings/match.h"
#include "base/log.h"

namespace phalanx {
namespace {

LogSeverity SeverityOf(const gpr_log_func_args& args) {
  if (args.severity != GPR_LOG_SEVERITY_ERROR) return LogSeverity::kInfo;
  // GPR_ASSERT logs and then aborts. A FATAL line is written before that; another would still be
  // queued.
  if (absl::StartsWith(args.message, "assertion failed")) return LogSeverity::kFatal;
  return LogSeverity::kError;
}

void Log(gpr_log_func_args* args) {
  LogMessage(SeverityOf(*args), args->file, args->line).stream() << "gRPC: " << args->message;
}

}  // namespace

void SendGrpcLogToOurs() { gpr_set_log_function(Log); }

}  // namespace phalanx
