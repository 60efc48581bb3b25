// How a model writes that it wants a function to be called.
#ifndef PHALANX_COORDINATOR_TEXT_ANSWER_TOOL_CALL_FORMAT_H_
#define PHALANX_COORDINATOR_TEXT_ANSWER_TOOL_CALL_FORMAT_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/text/tokenizer_assets.h"

namespace phalanx {

enum class ToolCallFormat {
  // Qwen2.5, Qwen3, Hermes 2 Pro: <tool_call>\n{"name": "f", "arguments": {...}}\n</tool_call>,
  // once for each call.
  kHermes,
  // Llama 3.1 and later: {"name": "f", "parameters": {...}} as all of the answer, or behind
  // <|python_tag|>; several calls with ";" or white space between them.
  kLlama3,
  // Phi-4-mini: <|tool_call|>[{"name": "f", "arguments": {...}}, ...]<|/tool_call|>, or
  // functools[...].
  kPhi4Mini,
};

// "hermes", "llama3" or "phi4_mini".
absl::string_view ToolCallFormatName(ToolCallFormat format);

// The format that the model's template for conversations with tools speaks of, which is what the
// model has been trained to write. The first of these that holds decides:
//   the template contains "<tool_call>", and not "<function=", which is another format: kHermes;
//   it contains "<|tool|>", "<|tool_call|>" or "functools": kPhi4Mini;
//   it contains "<|python_tag|>", or asks for {"name": function name, "parameters": ...}: kLlama3.
// nullopt if none does.
std::optional<ToolCallFormat> FindToolCallFormat(absl::string_view chat_template);

// The texts that begin a call wherever they stand in an answer, and those that end one.
struct ToolCallMarks {
  absl::Span<const absl::string_view> opening;
  absl::Span<const absl::string_view> closing;
};
ToolCallMarks MarksOf(ToolCallFormat format);

// The control tokens that are marks of `format`. Their spelling has to be a part of an answer's
// text if calls are to be found there. In most models marks are no control tokens.
std::vector<int32_t> FindMarkTokens(const TokenizerAssets& tokenizer, ToolCallFormat format);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_ANSWER_TOOL_CALL_FORMAT_H_
