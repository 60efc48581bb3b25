#include "coordinator/text/answer/tool_call_format.h"

#include <algorithm>

#include "absl/strings/match.h"

namespace phalanx {
namespace {

constexpr absl::string_view kHermesOpening[] = {"<tool_call>"};
constexpr absl::string_view kHermesClosing[] = {"</tool_call>"};
constexpr absl::string_view kLlama3Opening[] = {"<|python_tag|>"};
constexpr absl::string_view kPhi4MiniOpening[] = {"<|tool_call|>", "functools"};
constexpr absl::string_view kPhi4MiniClosing[] = {"<|/tool_call|>"};

bool IsOneOf(absl::string_view text, absl::Span<const absl::string_view> texts) {
  return std::find(texts.begin(), texts.end(), text) != texts.end();
}

}  // namespace

absl::string_view ToolCallFormatName(ToolCallFormat format) {
  switch (format) {
    case ToolCallFormat::kHermes:
      return "hermes";
    case ToolCallFormat::kLlama3:
      return "llama3";
    case ToolCallFormat::kPhi4Mini:
      return "phi4_mini";
  }
  return "";
}

std::optional<ToolCallFormat> FindToolCallFormat(absl::string_view chat_template) {
  const auto has = [&](absl::string_view text) { return absl::StrContains(chat_template, text); };
  if (has("<tool_call>")) {
    if (has("<function=")) return std::nullopt;
    return ToolCallFormat::kHermes;
  }
  if (has("<|tool|>") || has("<|tool_call|>") || has("functools")) return ToolCallFormat::kPhi4Mini;
  if (has("<|python_tag|>") || has(R"({"name": function name, "parameters": )")) {
    return ToolCallFormat::kLlama3;
  }
  return std::nullopt;
}

ToolCallMarks MarksOf(ToolCallFormat format) {
  switch (format) {
    case ToolCallFormat::kHermes:
      return {kHermesOpening, kHermesClosing};
    case ToolCallFormat::kLlama3:
      return {kLlama3Opening, {}};
    case ToolCallFormat::kPhi4Mini:
      return {kPhi4MiniOpening, kPhi4MiniClosing};
  }
  return {};
}

std::vector<int32_t> FindMarkTokens(const TokenizerAssets& tokenizer, ToolCallFormat format) {
  const ToolCallMarks marks = MarksOf(format);
  std::vector<int32_t> ids;
  for (size_t id = 0; id < tokenizer.token_bytes.size(); ++id) {
    if (tokenizer.token_kinds[id] != TokenKind::kControl) continue;
    const std::string& spelling = tokenizer.token_bytes[id];
    if (IsOneOf(spelling, marks.opening) || IsOneOf(spelling, marks.closing)) {
      ids.push_back(static_cast<int32_t>(id));
    }
  }
  return ids;
}

}  // namespace phalanx
