#include "coordinator/server/tool_calls.h"

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "coordinator/admission/limits.h"
#include "coordinator/admission/refusal.h"
#include "coordinator/server/request_id.h"
#include "coordinator/text/answer/tool_call_grammar.h"

namespace phalanx {
namespace {

// What arguments are checked against where the tool has no schema: they are a JSON object.
constexpr absl::string_view kAnyObject = R"({"type": "object"})";

}  // namespace

absl::StatusOr<std::shared_ptr<const ToolSet>> ToolSet::Create(ToolCallFormat format,
                                                               const v1::Chat& chat) {
  std::shared_ptr<ToolSet> tools(new ToolSet(format));
  for (int i = 0; i < chat.tools_size(); ++i) {
    const v1::Tool& tool = chat.tools(i);
    absl::StatusOr<std::unique_ptr<JsonSchema>> schema =
        JsonSchema::Create(tool.has_parameters() ? tool.parameters() : kAnyObject);
    if (!schema.ok()) {
      return Refused(RefusalKind::kOutOfRange, absl::InvalidArgumentError(absl::StrCat(
                                                   "chat.tools[", i,
                                                   "].parameters: is no JSON schema, which "
                                                   "parse_tool_calls needs: ",
                                                   schema.status().message())));
    }
    tools->schemas_[tool.name()] = *std::move(schema);
  }
  return tools;
}

absl::flat_hash_set<std::string> ToolSet::names() const {
  absl::flat_hash_set<std::string> names;
  for (const auto& [name, schema] : schemas_) names.insert(name);
  return names;
}

v1::ToolCallEnd ToolSet::Check(const std::string& name, absl::string_view arguments) const {
  v1::ToolCallEnd end;
  const auto schema = schemas_.find(name);
  if (schema == schemas_.end()) {
    end.set_valid(false);
    end.set_problem("no tool of the request has this name");
    return end;
  }
  const JsonSchema::Result result = schema->second->Check(arguments);
  if (result.verdict != JsonSchema::Verdict::kUnchecked) {
    end.set_valid(result.verdict == JsonSchema::Verdict::kValid);
  }
  end.set_problem(result.reason);
  return end;
}

ToolCallReader::Output ToolCallReader::Told(ToolCallParser::Output parsed) {
  Output output{.text = std::move(parsed.text), .calls = {}};
  for (ToolCallParser::Piece& piece : parsed.calls) {
    v1::ToolCallDelta& call = output.calls.emplace_back();
    call.set_index(piece.index);
    if (!piece.name.empty()) {
      name_ = std::move(piece.name);
      arguments_.clear();
      call.set_id(absl::StrFormat("call_%016x", RandomBits64()));
      call.set_name(name_);
    }
    arguments_ += piece.arguments;
    call.set_arguments(std::move(piece.arguments));
    if (!piece.end.has_value()) continue;
    if (*piece.end == ToolCallParser::End::kWhole) {
      *call.mutable_end() = tools_->Check(name_, arguments_);
    } else {
      call.mutable_end()->set_valid(false);
      call.mutable_end()->set_problem(std::move(piece.problem));
    }
    arguments_.clear();
  }
  return output;
}

void AppendToolCalls(std::vector<v1::ToolCallDelta> news,
                     google::protobuf::RepeatedPtrField<v1::ToolCallDelta>* calls) {
  for (v1::ToolCallDelta& call : news) {
    v1::ToolCallDelta* const last = calls->empty() ? nullptr : &*calls->rbegin();
    if (last == nullptr || last->index() != call.index()) {
      *calls->Add() = std::move(call);
      continue;
    }
    last->mutable_arguments()->append(call.arguments());
    if (call.has_end()) *last->mutable_end() = std::move(*call.mutable_end());
  }
}

absl::StatusOr<std::string> ForcedCallGrammar(ToolCallFormat format,
                                              absl::Span<const std::string> named_marks,
                                              const v1::GenerateRequest& request) {
  const bool one = request.tool_choice().has_name();
  std::vector<ToolGrammar> tools;
  for (const v1::Tool& tool : request.chat().tools()) {
    if (one && tool.name() != request.tool_choice().name()) continue;
    ToolGrammar& added = tools.emplace_back();
    added.name = tool.name();
    if (tool.has_parameters()) added.parameters_json = tool.parameters();
  }
  std::string grammar = ToolCallGrammar(format, tools, named_marks, /*several=*/!one);
  if (grammar.size() > kMaxConstraintBytes) {
    return Refused(RefusalKind::kTooLarge,
                   absl::InvalidArgumentError(absl::StrCat(
                       "tool_choice: the schemas of chat.tools make a grammar of ", grammar.size(),
                       " bytes, and ", kMaxConstraintBytes, " are allowed")));
  }
  return grammar;
}

int64_t ToolCallBytes(const std::vector<v1::ToolCallDelta>& calls) {
  int64_t bytes = 0;
  for (const v1::ToolCallDelta& call : calls) bytes += static_cast<int64_t>(call.ByteSizeLong());
  return bytes;
}

}  // namespace phalanx
