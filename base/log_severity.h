// How bad what a line of the log tells is.
#ifndef PHALANX_BASE_LOG_SEVERITY_H_
#define PHALANX_BASE_LOG_SEVERITY_H_

namespace phalanx {

enum class LogSeverity { kInfo, kWarning, kError, kFatal };

}  // namespace phalanx

#endif  // PHALANX_BASE_LOG_SEVERITY_H_
