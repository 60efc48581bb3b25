// Command lines, on top of CLI11: the same look, units and exit codes in every program.
#ifndef PHALANX_BASE_OPTIONS_H_
#define PHALANX_BASE_OPTIONS_H_

#include <optional>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/time/time.h"
#include "base/host_port.h"
#include "base/log_format.h"

namespace phalanx {

// Exit codes that all programs share.
inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;
// Bad command line.
inline constexpr int kExitUsage = 2;

// Adds --version and makes the help show defaults.
void AddStandardOptions(CLI::App& app);

// Adds an option in absl::Duration syntax ("30s", "1m30s", "500ms"; not negative). `*value` holds
// the default, shown in the help.
CLI::Option* AddDurationOption(CLI::App& app, const std::string& name, absl::Duration* value,
                               const std::string& help);

// Adds an option of the form HOST:PORT; see base/host_port.h. `*value` holds the default.
CLI::Option* AddHostPortOption(CLI::App& app, const std::string& name, HostPort* value, PortUse use,
                               const std::string& help);

// Adds --log_format=text|json. `*format` holds the default.
CLI::Option* AddLogFormatOption(CLI::App& app, LogFormat* format);

// What --log_format takes: "text" or "json".
std::string LogFormatName(LogFormat format);

// Parses the command line. Returns nullopt if the program is to go on. Otherwise main must return
// the exit code at once: kExitOk after --help or --version (printed to standard output), kExitUsage
// after an error (one line and a hint to standard error). An argument that is not known is named
// before one that is missing.
std::optional<int> ParseCommandLine(CLI::App& app, int argc, char** argv);

// "0.1.0 (release)": what --version prints and the build_info metric tells.
std::string VersionString();

}  // namespace phalanx

#endif  // PHALANX_BASE_OPTIONS_H_
