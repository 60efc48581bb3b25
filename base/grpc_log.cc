#include "base/grpc_log.h"

#include <grpc/support/log.h>

#include "base/log.h"

namespace phalanx {
namespace {

void Log(gpr_log_func_args* args) {
  const LogSeverity severity =
      args->severity == GPR_LOG_SEVERITY_ERROR ? LogSeverity::kError : LogSeverity::kInfo;
  LogMessage(severity, args->file, args->line).stream() << "gRPC: " << args->message;
}

}  // namespace

void SendGrpcLogToOurs() { gpr_set_log_function(Log); }

}  // namespace phalanx
