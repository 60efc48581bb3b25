#include "client/answer_printer.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace phalanx {

absl::Status AnswerPrinter::Print(const v1::GenerateEvent& event) {
  if (event.has_started()) prompt_tokens_ = event.started().prompt_tokens();
  if (event.has_delta() && event.delta().token_ids_size() > 0) {
    last_token_ = clock_.Now();
    if (completion_tokens_ == 0) first_token_ = last_token_;
    completion_tokens_ += event.delta().token_ids_size();
  }
  if (event.delta().choice() == 0) text_ += event.delta().text();
  if (options_.json) return terminal_.Write(absl::StrCat(EventJson(event), "\n"));
  if (options_.choices > 1) return PrintChoices(event);
  PrintReasoning(event.delta().reasoning_text());
  // Where both streams are the same terminal, the answer begins on a line of its own.
  if (!event.delta().text().empty()) EndReasoning();
  return terminal_.Write(event.delta().text());
}

absl::Status AnswerPrinter::PrintChoices(const v1::GenerateEvent& event) {
  if (event.has_delta()) {
    v1::Delta& whole = whole_[event.delta().choice()];
    whole.mutable_text()->append(event.delta().text());
    whole.mutable_reasoning_text()->append(event.delta().reasoning_text());
  }
  if (!event.has_finished()) return absl::OkStatus();
  const int choice = event.finished().choice();
  PrintReasoning(whole_[choice].reasoning_text());
  EndReasoning();
  const std::string& text = whole_[choice].text();
  return terminal_.Write(
      absl::StrCat("[", choice, "]\n", text, absl::EndsWith(text, "\n") ? "" : "\n"));
}

void AnswerPrinter::PrintReasoning(const std::string& text) {
  if (text.empty() || !options_.show_reasoning) return;
  terminal_.WriteError(text);
  reasoning_line_open_ = !absl::EndsWith(text, "\n");
}

void AnswerPrinter::EndReasoning() {
  if (std::exchange(reasoning_line_open_, false)) terminal_.WriteError("\n");
}

absl::Status AnswerPrinter::End(const absl::Status& status) {
  if (options_.json) {
    return status.ok() ? absl::OkStatus() : terminal_.Write(absl::StrCat(ErrorJson(status), "\n"));
  }
  EndReasoning();
  if (options_.choices > 1 || text_.empty() || absl::EndsWith(text_, "\n")) return absl::OkStatus();
  return terminal_.Write("\n");
}

StreamStats AnswerPrinter::stats() const {
  StreamStats stats;
  stats.prompt_tokens = prompt_tokens_;
  stats.completion_tokens = completion_tokens_;
  stats.time_to_first_token = first_token_ - start_;
  stats.decode_time = last_token_ - first_token_;
  return stats;
}

}  // namespace phalanx
