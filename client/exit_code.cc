#include "client/exit_code.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "base/options.h"
#include "client/error_details.h"

namespace phalanx {
namespace {

std::string Hint(const absl::Status& status, const ErrorDetails& details,
                 absl::string_view target) {
  if (details.retry_delay.has_value()) {
    return absl::StrFormat("the server asks to try again after %.1f s",
                           absl::ToDoubleSeconds(*details.retry_delay));
  }
  switch (status.code()) {
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
  const ErrorDetails details = DetailsOf(status);
  std::string text = absl::StrCat("phalanx: ", absl::StatusCodeToString(status.code()), ": ",
                                  status.message(), "\n");
  if (!details.field.empty()) absl::StrAppend(&text, "field: ", details.field, "\n");
  if (!details.request_id.empty()) absl::StrAppend(&text, "request: ", details.request_id, "\n");
  const std::string hint = Hint(status, details, target);
  if (!hint.empty()) absl::StrAppend(&text, "hint: ", hint, "\n");
  return text;
}

}  // namespace phalanx
