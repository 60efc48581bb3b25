#include "client/answer_printer.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace phalanx {
namespace {

void CollectCalls(const v1::Delta& delta, std::vector<v1::ToolCallDelta>* calls) {
  for (const v1::ToolCallDelta& call : delta.tool_calls()) {
    if (calls->empty() || calls->back().index() != call.index()) {
      calls->push_back(call);
      continue;
    }
    calls->back().mutable_arguments()->append(call.arguments());
    if (call.has_end()) *calls->back().mutable_end() = call.end();
  }
}

}  // namespace

absl::Status AnswerPrinter::Print(const v1::GenerateEvent& event) {
  if (event.has_started()) prompt_tokens_ = event.started().prompt_tokens();
  if (event.has_delta() && event.delta().token_ids_size() > 0) {
    last_token_ = clock_.Now();
    if (completion_tokens_ == 0) first_token_ = last_token_;
    completion_tokens_ += event.delta().token_ids_size();
  }
  drafted_tokens_ += event.finished().usage().drafted_tokens();
  accepted_tokens_ += event.finished().usage().accepted_tokens();
  if (event.delta().choice() == 0) {
    text_ += event.delta().text();
    CollectCalls(event.delta(), &calls_);
  }
  if (options_.json) return terminal_.Write(absl::StrCat(EventJson(event), "\n"));
  if (options_.choices > 1) return PrintChoices(event);
  PrintReasoning(event.delta().reasoning_text());
  // Where both streams are the same terminal, the answer begins on a line of its own.
  if (!event.delta().text().empty() || event.delta().tool_calls_size() > 0) EndReasoning();
  return terminal_.Write(Show(event.delta()));
}

std::string AnswerPrinter::Show(const v1::Delta& delta) {
  std::string shown;
  const auto show_text = [&] {
    if (delta.text().empty()) return;
    shown += delta.text();
    line_open_ = !absl::EndsWith(delta.text(), "\n");
  };
  // Text is no part of a call that has begun.
  const bool text_first = !call_open_;
  if (text_first) show_text();
  for (const v1::ToolCallDelta& call : delta.tool_calls()) shown += ShowCall(call);
  if (!text_first) show_text();
  return shown;
}

std::string AnswerPrinter::ShowCall(const v1::ToolCallDelta& call) {
  std::string shown;
  if (call.has_name()) {
    shown = absl::StrCat(line_open_ ? "\n" : "", call.name(), "(");
    line_open_ = call_open_ = true;
  }
  shown += call.arguments();
  if (!call.has_end()) return shown;
  line_open_ = call_open_ = false;
  const v1::ToolCallEnd& end = call.end();
  if (end.problem().empty()) return shown + ")\n";
  return absl::StrCat(shown, ")  # ",
                      end.has_valid() ? "not valid: " : "not checked: ", end.problem(), "\n");
}

absl::Status AnswerPrinter::PrintChoices(const v1::GenerateEvent& event) {
  if (event.has_delta()) {
    v1::Delta& whole = whole_[event.delta().choice()];
    whole.mutable_text()->append(event.delta().text());
    whole.mutable_reasoning_text()->append(event.delta().reasoning_text());
    whole.mutable_tool_calls()->MergeFrom(event.delta().tool_calls());
  }
  if (!event.has_finished()) return absl::OkStatus();
  const int choice = event.finished().choice();
  PrintReasoning(whole_[choice].reasoning_text());
  EndReasoning();
  line_open_ = false;
  const std::string text = Show(whole_[choice]);
  return terminal_.Write(
      absl::StrCat("[", choice, "]\n", text, text.empty() || line_open_ ? "\n" : ""));
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
  if (options_.choices > 1 || !line_open_) return absl::OkStatus();
  return terminal_.Write("\n");
}

StreamStats AnswerPrinter::stats() const {
  StreamStats stats;
  stats.prompt_tokens = prompt_tokens_;
  stats.completion_tokens = completion_tokens_;
  stats.drafted_tokens = drafted_tokens_;
  stats.accepted_tokens = accepted_tokens_;
  stats.time_to_first_token = first_token_ - start_;
  stats.decode_time = last_token_ - first_token_;
  return stats;
}

}  // namespace phalanx
