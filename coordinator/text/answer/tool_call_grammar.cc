#include "coordinator/text/answer/tool_call_grammar.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "nlohmann/json.hpp"

namespace phalanx {
namespace {

using Json = nlohmann::ordered_json;

// A text in a grammar, which is written as in JSON.
std::string Literal(absl::string_view text) { return Json(std::string(text)).dump(); }

// What stands around calls, as parts of a rule.
struct Frame {
  std::string before_all = {};
  std::string before_each = {};
  absl::string_view arguments_key = "arguments";
  std::string after_each = {};
  // Between two calls; empty if there can only be one.
  std::string between = {};
  std::string after_all = {};
};

Frame FrameOf(ToolCallFormat format, absl::Span<const std::string> named_marks) {
  const ToolCallMarks marks = MarksOf(format);
  const auto mark = [&](absl::string_view text) {
    const bool is_token =
        std::find(named_marks.begin(), named_marks.end(), text) != named_marks.end();
    return is_token ? std::string(text) : Literal(text);
  };
  switch (format) {
    case ToolCallFormat::kHermes:
      return {.before_each = absl::StrCat(mark(marks.opening[0]), " ", Literal("\n")),
              .after_each = absl::StrCat(Literal("\n"), " ", mark(marks.closing[0])),
              .between = Literal("\n")};
    case ToolCallFormat::kLlama3:
      return {.arguments_key = "parameters"};
    case ToolCallFormat::kPhi4Mini:
      return {.before_all = absl::StrCat(mark(marks.opening[0]), " ", Literal("[")),
              .between = Literal(", "),
              .after_all = absl::StrCat(Literal("]"), " ", mark(marks.closing[0]))};
  }
  return {};
}

std::string ObjectSchema(const std::string& parameters_json) {
  Json schema = Json::parse(parameters_json, nullptr, /*allow_exceptions=*/false);
  if (!schema.is_object()) schema = Json::object();
  schema["type"] = "object";
  return schema.dump();
}

std::string Rule(absl::string_view name, std::vector<std::string> parts) {
  parts.erase(std::remove(parts.begin(), parts.end(), ""), parts.end());
  return absl::StrCat(name, ": ", absl::StrJoin(parts, " "), "\n");
}

}  // namespace

std::vector<std::string> FindNamedMarks(const TokenizerAssets& tokenizer, ToolCallFormat format) {
  const ToolCallMarks marks = MarksOf(format);
  std::vector<std::string> named;
  for (size_t id = 0; id < tokenizer.token_bytes.size(); ++id) {
    if (tokenizer.token_kinds[id] != TokenKind::kUserDefined) continue;
    const std::string& spelling = tokenizer.token_bytes[id];
    for (const auto& list : {marks.opening, marks.closing}) {
      if (std::find(list.begin(), list.end(), spelling) != list.end()) named.push_back(spelling);
    }
  }
  return named;
}

std::string ToolCallGrammar(ToolCallFormat format, absl::Span<const ToolGrammar> tools,
                            absl::Span<const std::string> named_marks, bool several) {
  const Frame frame = FrameOf(format, named_marks);
  std::vector<std::string> calls;
  std::string rules;
  for (size_t i = 0; i < tools.size(); ++i) {
    const std::string call = absl::StrCat("call_", i);
    const std::string arguments = absl::StrCat("arguments_", i);
    const std::string head =
        absl::StrCat("{\"name\": \"", tools[i].name, "\", \"", frame.arguments_key, "\": ");
    rules +=
        Rule(call, {frame.before_each, Literal(head), arguments, Literal("}"), frame.after_each});
    rules += Rule(arguments, {"%json", ObjectSchema(tools[i].parameters_json)});
    calls.push_back(call);
  }
  const std::string more = several && !frame.between.empty()
                               ? absl::StrCat("(", frame.between, " call)*")
                               : std::string();
  return absl::StrCat(Rule("start", {frame.before_all, "call", more, frame.after_all}),
                      Rule("call", {absl::StrJoin(calls, " | ")}), rules);
}

}  // namespace phalanx
