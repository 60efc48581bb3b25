// How `phalanx inspect` prints what it found.
#ifndef PHALANX_CLIENT_INSPECTION_FORMAT_H_
#define PHALANX_CLIENT_INSPECTION_FORMAT_H_

#include <string>

#include "absl/strings/string_view.h"
#include "client/inspection.h"

namespace phalanx {

// For the help: the fields of InspectionJson.
absl::string_view InspectJsonHelp();

// One JSON object without a newline at its end. What could not be read is null.
std::string InspectionJson(const Inspection& found);

// Lines of a label and what is known, a table of ranks, and what would be refused.
std::string InspectionText(const Inspection& found);

// "GPT-2" for a pattern that model/text/split_patterns.h knows, else the pattern itself.
std::string SplitRuleName(absl::string_view pattern);

}  // namespace phalanx

#endif  // PHALANX_CLIENT_INSPECTION_FORMAT_H_
