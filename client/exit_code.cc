#include "client/exit_code.h"

#include "absl/strings/str_cat.h"
#include "base/options.h"

namespace phalanx {
namespace {

std::string Hint(absl::StatusCode code, absl::string_view target) {
  switch (code) {
    case absl::StatusCode::kUnavailable:
      return absl::StrCat("`phalanx health --wait 30s --target ", target,
                          "` waits until the server is there and ready");
    case absl::StatusCode::kNotFound:
      return absl::StrCat("`phalanx models --target ", target, "` lists the names");
    case absl::StatusCode::kDeadlineExceeded:
      return "a longer --timeout gives the answer more time";
    case absl::StatusCode::kResourceExhausted:
      return "the server is busy; try again later";
    case absl::StatusCode::kUnimplemented:
      return absl::StrCat("is the server at ", target, " a Phalanx coordinator?");
    default:
      return "";
  }
}

}  // namespace

absl::string_view ExitCodeHelp() {
  return "Exit codes:\n"
         "  0    done\n"
         "  1    any other failure\n"
         "  2    bad command line\n"
         "  3    the server cannot be reached or is not ready (try again)\n"
         "  4    the request is wrong: the server refused it or does not know the model, or a "
         "file\n"
         "       that belongs to it cannot be used\n"
         "  5    --timeout passed\n"
         "  6    the server is full (try again later)\n"
         "  130  interrupted by Ctrl-C or SIGTERM\n"
         "  141  standard output was closed by its reader";
}

int ExitCodeFor(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitOk;
    case absl::StatusCode::kUnavailable:
      return kExitUnavailable;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kNotFound:
      return kExitInvalidRequest;
    case absl::StatusCode::kDeadlineExceeded:
      return kExitDeadline;
    case absl::StatusCode::kResourceExhausted:
      return kExitResourceExhausted;
    default:
      return kExitFailure;
  }
}

std::string DescribeError(const absl::Status& status, absl::string_view target) {
  const std::string hint = Hint(status.code(), target);
  return absl::StrCat("phalanx: ", absl::StatusCodeToString(status.code()), ": ", status.message(),
                      "\n", hint.empty() ? "" : absl::StrCat("hint: ", hint, "\n"));
}

}  // namespace phalanx
