#include "base/options.h"

#include <iostream>
#include <string>
#include <vector>

namespace phalanx {
namespace {

// What the user is told. CLI11 looks for missing options first, but often one is missing because it
// was misspelt.
std::string Problem(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<std::string> unknown = app.remaining(/*recurse=*/true);
  return unknown.empty() ? error.what() : "unknown argument: " + unknown.front();
}

}  // namespace

std::string VersionString() {
#ifdef NDEBUG
  return "0.1.0 (release)";
#else
  return "0.1.0 (debug)";
#endif
}

void AddStandardOptions(CLI::App& app) {
  app.set_version_flag("--version", VersionString());
  app.option_defaults()->always_capture_default();
}

CLI::Option* AddDurationOption(CLI::App& app, const std::string& name, absl::Duration* value,
                               const std::string& help) {
  CLI::Option* option = app.add_option_function<std::string>(
      name, [value](const std::string& text) { absl::ParseDuration(text, value); }, help);
  option->check([](const std::string& text) -> std::string {
    absl::Duration duration;
    if (!absl::ParseDuration(text, &duration) || duration < absl::ZeroDuration()) {
      return "\"" + text + "\" is not a duration such as 30s, 1m30s or 500ms";
    }
    return "";
  });
  option->type_name("DURATION");
  option->default_str(absl::FormatDuration(*value));
  return option;
}

CLI::Option* AddHostPortOption(CLI::App& app, const std::string& name, HostPort* value, PortUse use,
                               const std::string& help) {
  CLI::Option* option = app.add_option_function<std::string>(
      name, [value, use](const std::string& text) { *value = *ParseHostPort(text, use); }, help);
  option->check([use](const std::string& text) {
    return std::string(ParseHostPort(text, use).status().message());
  });
  option->type_name("HOST:PORT");
  option->default_str(value->ToString());
  return option;
}

CLI::Option* AddLogFormatOption(CLI::App& app, LogFormat* format) {
  CLI::Option* option = app.add_option_function<std::string>(
      "--log_format",
      [format](const std::string& name) {
        *format = name == "json" ? LogFormat::kJson : LogFormat::kText;
      },
      "How lines of the log look: text, or json for one object a line");
  option->check(CLI::IsMember({"text", "json"}));
  option->default_str(LogFormatName(*format));
  return option;
}

std::string LogFormatName(LogFormat format) { return format == LogFormat::kJson ? "json" : "text"; }

std::optional<int> ParseCommandLine(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::Success& success) {
    app.exit(success, std::cout, std::cerr);
    return kExitOk;
  } catch (const CLI::ParseError& error) {
    std::cerr << app.get_name() << ": " << Problem(app, error) << "\nTry --help.\n";
    return kExitUsage;
  }
}

}  // namespace phalanx
