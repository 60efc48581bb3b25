// Grammars of answers that are tool calls and nothing else.
#ifndef PHALANX_COORDINATOR_TEXT_ANSWER_TOOL_CALL_GRAMMAR_H_
#define PHALANX_COORDINATOR_TEXT_ANSWER_TOOL_CALL_GRAMMAR_H_

#include <string>
#include <vector>

#include "absl/types/span.h"
#include "coordinator/text/answer/tool_call_format.h"
#include "model/text/tokenizer_assets.h"

namespace phalanx {

struct ToolGrammar {
  // 1 to 64 letters, digits, "_", "-" and ".".
  std::string name;
  // The text of a JSON object, a schema of the arguments. Whatever it says of its type, arguments
  // are an object.
  std::string parameters_json = "{}";
};

// Marks of `format` that are tokens with text of their own. Grammars have to name these, since a
// text in a grammar never stands for such a token.
std::vector<std::string> FindNamedMarks(const TokenizerAssets& tokenizer, ToolCallFormat format);

// A grammar in llguidance's variant of Lark: an answer is one call of one of `tools`, or with
// `several` one or more, written as `format` has it and with arguments that follow the schema.
// ToolCallParser takes exactly these calls out of each such answer. There must be a tool.
std::string ToolCallGrammar(ToolCallFormat format, absl::Span<const ToolGrammar> tools,
                            absl::Span<const std::string> named_marks, bool several);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_ANSWER_TOOL_CALL_GRAMMAR_H_
