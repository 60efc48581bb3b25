#include "coordinator/text/answer/tool_call_parser.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "coordinator/text/answer/tool_call_syntax.h"

namespace phalanx {
namespace {

// White space between a mark and what it opens. More than that is no call, so that it need not be
// read again and again.
constexpr size_t kMaxSpaceBytes = 64;

bool IsSpace(char byte) { return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r'; }

// Where the first mark begins; text.size() if there is none, less what may become one.
struct FoundMark {
  size_t at = 0;
  absl::string_view mark = {};
};

FoundMark FindMark(absl::string_view text, absl::Span<const absl::string_view> marks) {
  FoundMark found{.at = text.size()};
  for (const absl::string_view mark : marks) {
    const size_t at = text.find(mark);
    if (at < found.at) found = {.at = at, .mark = mark};
  }
  if (!found.mark.empty()) return found;
  for (const absl::string_view mark : marks) {
    for (size_t bytes = std::min(text.size(), mark.size() - 1); bytes > 0; --bytes) {
      if (!absl::EndsWith(text, mark.substr(0, bytes))) continue;
      found.at = std::min(found.at, text.size() - bytes);
      break;
    }
  }
  return found;
}

}  // namespace

ToolCallParser::Output ToolCallParser::Push(absl::string_view text) {
  held_.append(text.data(), text.size());
  Output output;
  while (Advance(&output)) {
  }
  return output;
}

bool ToolCallParser::Advance(Output* output) {
  switch (state_) {
    case State::kText:
      return AdvanceText(output);
    case State::kHead:
      return AdvanceHead(output);
    case State::kArguments:
      return AdvanceArguments(output);
    case State::kTail:
      return AdvanceTail();
    case State::kAfter:
      return AdvanceAfter();
  }
  return false;
}

bool ToolCallParser::AdvanceText(Output* output) {
  const bool holds_space = at_beginning_ || after_call_;
  const size_t space = holds_space ? LeadingSpace() : 0;
  if (space == held_.size()) return false;
  if (at_beginning_ && held_[space] == '{') {
    bare_ = true;
    needs_list_ = in_list_ = false;
    return OpenHead(/*give_back=*/space + 1, /*head=*/space);
  }
  const FoundMark found = FindMark(held_, MarksOf(format_).opening);
  // White space in front of what is or may become a mark waits with it.
  if (found.at > 0 && !(holds_space && found.at == space)) {
    GiveText(found.at, output);
    at_beginning_ = after_call_ = false;
    return true;
  }
  if (found.mark.empty()) return false;
  bare_ = false;
  needs_list_ = found.mark == "functools";
  in_list_ = false;
  return OpenHead(/*give_back=*/found.at + 1, /*head=*/found.at + found.mark.size());
}

bool ToolCallParser::OpenHead(size_t give_back, size_t head) {
  state_ = State::kHead;
  give_back_ = give_back;
  head_ = head;
  return true;
}

bool ToolCallParser::RefuseHead(Output* output) {
  GiveText(give_back_, output);
  BackToText(/*after_call=*/false);
  return true;
}

void ToolCallParser::BackToText(bool after_call) {
  state_ = State::kText;
  at_beginning_ = false;
  after_call_ = after_call;
  in_list_ = false;
}

bool ToolCallParser::AdvanceHead(Output* output) {
  const absl::string_view text = held_;
  size_t begin = head_;
  while (begin < text.size() && IsSpace(text[begin])) ++begin;
  if (begin - head_ > kMaxSpaceBytes) return RefuseHead(output);
  if (begin == text.size()) return false;
  bool in_list = in_list_;
  if (format_ == ToolCallFormat::kPhi4Mini && !in_list) {
    in_list = text[begin] == '[';
    if (in_list) ++begin;
    if (needs_list_ && !in_list) return RefuseHead(output);
  }
  const CallHead head = ReadCallHead(text.substr(begin));
  if (head.state == SyntaxState::kMore) return false;
  const bool has_arguments = head.end_without_arguments == 0;
  if (head.state == SyntaxState::kNone ||
      (bare_ && (!has_arguments || !tools_.contains(head.name)))) {
    return RefuseHead(output);
  }
  ++calls_;
  in_list_ = in_list;
  output->calls.push_back({.index = calls_ - 1, .name = head.name});
  if (has_arguments) {
    Drop(begin + head.arguments);
    state_ = State::kArguments;
    arguments_.emplace(kMaxDepth);
  } else {
    Drop(begin + head.end_without_arguments);
    CallPiece(output).arguments = "{}";
    EndCall(End::kWhole, "", output);
    state_ = State::kAfter;
  }
  return true;
}

bool ToolCallParser::AdvanceArguments(Output* output) {
  if (held_.empty()) return false;
  const size_t taken = arguments_->Push(held_);
  if (taken > 0) CallPiece(output).arguments.append(held_, 0, taken);
  Drop(taken);
  switch (arguments_->state()) {
    case JsonScanner::State::kMore:
      return false;
    case JsonScanner::State::kEnd:
      EndCall(End::kWhole, "", output);
      state_ = State::kTail;
      return true;
    case JsonScanner::State::kBroken:
      EndCall(End::kBroken, "the arguments stop being JSON", output);
      BackToText(/*after_call=*/false);
      return true;
  }
  return false;
}

bool ToolCallParser::AdvanceTail() {
  const CallTail tail = ReadCallTail(held_);
  if (tail.state == SyntaxState::kMore) return false;
  if (tail.state == SyntaxState::kNone) {
    BackToText(/*after_call=*/false);
  } else {
    Drop(tail.bytes);
    state_ = State::kAfter;
  }
  return true;
}

bool ToolCallParser::AdvanceAfter() {
  const size_t space = LeadingSpace();
  if (space == held_.size()) return false;
  if (in_list_ && held_[space] == ']') {
    Drop(space + 1);
    in_list_ = false;
    return true;
  }
  const char separator = format_ == ToolCallFormat::kLlama3 ? ';' : ',';
  if ((in_list_ || format_ == ToolCallFormat::kLlama3) && held_[space] == separator) {
    return OpenHead(/*give_back=*/space + 1, /*head=*/space + 1);
  }
  // Llama 3 also writes one call after the other with nothing but white space between them.
  if (format_ == ToolCallFormat::kLlama3 && held_[space] == '{') {
    bare_ = true;
    return OpenHead(/*give_back=*/space + 1, /*head=*/space);
  }
  const absl::string_view rest = absl::string_view(held_).substr(space);
  for (const absl::string_view mark : MarksOf(format_).closing) {
    if (absl::StartsWith(rest, mark)) {
      Drop(space + mark.size());
      break;
    }
    if (absl::StartsWith(mark, rest)) return false;
  }
  BackToText(/*after_call=*/true);
  return true;
}

ToolCallParser::Output ToolCallParser::Finish() {
  Output output;
  switch (state_) {
    case State::kText:
      if (after_call_ && LeadingSpace() == held_.size()) break;
      GiveText(held_.size(), &output);
      break;
    case State::kHead:
      GiveText(held_.size(), &output);
      break;
    case State::kArguments:
      EndCall(End::kBroken, "the answer ends inside of the arguments", &output);
      break;
    case State::kTail:
    case State::kAfter:
      // The beginning of what belongs to a call.
      break;
  }
  held_.clear();
  BackToText(/*after_call=*/false);
  return output;
}

ToolCallParser::Piece& ToolCallParser::CallPiece(Output* output) {
  if (output->calls.empty() || output->calls.back().index != calls_ - 1) {
    output->calls.push_back({.index = calls_ - 1});
  }
  return output->calls.back();
}

void ToolCallParser::EndCall(End end, absl::string_view problem, Output* output) {
  Piece& piece = CallPiece(output);
  piece.end = end;
  piece.problem = std::string(problem);
}

void ToolCallParser::GiveText(size_t bytes, Output* output) {
  output->text.append(held_, 0, bytes);
  Drop(bytes);
}

void ToolCallParser::Drop(size_t bytes) {
  held_.erase(0, bytes);
  leading_space_ = 0;
}

size_t ToolCallParser::LeadingSpace() {
  while (leading_space_ < held_.size() && IsSpace(held_[leading_space_])) ++leading_space_;
  return leading_space_;
}

}  // namespace phalanx
