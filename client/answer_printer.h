// Shows one answer while it comes.
#ifndef PHALANX_CLIENT_ANSWER_PRINTER_H_
#define PHALANX_CLIENT_ANSWER_PRINTER_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "client/format.h"
#include "client/terminal.h"
#include "phalanx/v1/inference.pb.h"

namespace phalanx {

// Thread-compatible; one per request, made when the request starts. All arguments are lent.
class AnswerPrinter {
 public:
  struct Options {
    bool json = false;
    bool show_reasoning = false;
    // Several are printed one after the other, each when it is whole: their pieces come mixed.
    int choices = 1;
  };

  AnswerPrinter(const Options& options, Terminal* terminal, const Clock* clock)
      : options_(options), terminal_(*terminal), clock_(*clock), start_(clock->Now()) {}
  AnswerPrinter(const AnswerPrinter&) = delete;
  AnswerPrinter& operator=(const AnswerPrinter&) = delete;

  // Writes the text of a Delta, its reasoning to standard error, or each event as a line of JSON.
  // Tool calls are lines of their own, name(arguments), with what is wrong with them behind that.
  absl::Status Print(const v1::GenerateEvent& event);

  // Ends the last line if it is still open. With JSON, writes a failed `status` as a last event.
  absl::Status End(const absl::Status& status);

  // All text of the first choice so far, without the reasoning.
  const std::string& text() const { return text_; }
  // The tool calls of the first choice so far, each put together.
  const std::vector<v1::ToolCallDelta>& calls() const { return calls_; }
  StreamStats stats() const;

 private:
  // Prints the text of all choices but writes none before its choice is whole.
  absl::Status PrintChoices(const v1::GenerateEvent& event);
  // The text and the calls of a Delta as they are shown.
  std::string Show(const v1::Delta& delta);
  std::string ShowCall(const v1::ToolCallDelta& call);
  void PrintReasoning(const std::string& text);
  // Ends the line that the reasoning may have left open.
  void EndReasoning();

  const Options options_;
  Terminal& terminal_;
  const Clock& clock_;
  const absl::Time start_;
  absl::Time first_token_;
  absl::Time last_token_;
  int prompt_tokens_ = 0;
  int completion_tokens_ = 0;
  int drafted_tokens_ = 0;
  int accepted_tokens_ = 0;
  bool reasoning_line_open_ = false;
  // Whether the last line that was written has no end yet, and whether that is within a call.
  bool line_open_ = false;
  bool call_open_ = false;
  std::string text_;
  std::vector<v1::ToolCallDelta> calls_;
  // By choice; used if there are several.
  std::map<int, v1::Delta> whole_;
};

}  // namespace phalanx

#endif  // PHALANX_CLIENT_ANSWER_PRINTER_H_
