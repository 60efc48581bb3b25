// What `phalanx bench` prints.
#ifndef PHALANX_CLIENT_LOAD_REPORT_H_
#define PHALANX_CLIENT_LOAD_REPORT_H_

#include <string>

#include "absl/strings/string_view.h"
#include "client/load_figures.h"
#include "client/load_plan.h"
#include "client/load_runner.h"

namespace phalanx {

// The text for the help about the file of --json.
absl::string_view BenchJsonHelp();

// What was measured, beside the figures.
struct LoadSetting {
  std::string target;
  std::string model;
  LoadOptions options;
  bool interrupted = false;
};

// "12 of 64 done, 8 running, 1 failed, 214.5 tokens/s, 6 s": without a newline.
std::string ProgressLine(const LoadProgress& progress, int requests);

// A table for people.
std::string LoadTable(const LoadSetting& setting, const LoadFigures& figures);

// One JSON object over several lines, ending with a newline.
std::string LoadJson(const LoadSetting& setting, const LoadFigures& figures);

}  // namespace phalanx

#endif  // PHALANX_CLIENT_LOAD_REPORT_H_
