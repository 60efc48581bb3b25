// The calls that an answer makes of the tools of its request, as the client gets them.
#ifndef PHALANX_COORDINATOR_SERVER_TOOL_CALLS_H_
#define PHALANX_COORDINATOR_SERVER_TOOL_CALLS_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "coordinator/text/answer/tool_call_format.h"
#include "coordinator/text/answer/tool_call_parser.h"
#include "coordinator/text/schema/json_schema.h"
#include "phalanx/v1/inference.pb.h"

namespace phalanx {

// The tools of a request, with the schemas of their arguments. Immutable, so thread-safe: the
// choices of a request share it.
class ToolSet {
 public:
  // INVALID_ARGUMENT, naming the tool, for parameters that are no JSON schema. Takes a millisecond
  // and more for a large schema.
  static absl::StatusOr<std::shared_ptr<const ToolSet>> Create(ToolCallFormat format,
                                                               const v1::Chat& chat);

  ToolCallFormat format() const { return format_; }
  absl::flat_hash_set<std::string> names() const;
  // What the client is told of a call with these arguments, which are a JSON object.
  v1::ToolCallEnd Check(const std::string& name, absl::string_view arguments) const;

 private:
  explicit ToolSet(ToolCallFormat format) : format_(format) {}

  const ToolCallFormat format_;
  absl::flat_hash_map<std::string, std::unique_ptr<JsonSchema>> schemas_;
};

// Takes the calls out of the text of one answer. Thread-compatible.
class ToolCallReader {
 public:
  explicit ToolCallReader(std::shared_ptr<const ToolSet> tools)
      : tools_(std::move(tools)), parser_(tools_->format(), tools_->names()) {}

  struct Output {
    std::string text;
    std::vector<v1::ToolCallDelta> calls;
  };
  // Returns the text and the calls that have become certain.
  Output Push(absl::string_view text) { return Told(parser_.Push(text)); }
  // To be called at the end. Returns what was held back.
  Output Finish() { return Told(parser_.Finish()); }

  // How many calls there have been.
  int calls() const { return parser_.calls(); }

 private:
  Output Told(ToolCallParser::Output parsed);

  const std::shared_ptr<const ToolSet> tools_;
  ToolCallParser parser_;
  // Of the latest call.
  std::string name_;
  std::string arguments_;
};

// Appends news of calls, putting pieces of one call together where they follow each other.
void AppendToolCalls(std::vector<v1::ToolCallDelta> news,
                     google::protobuf::RepeatedPtrField<v1::ToolCallDelta>* calls);

// A grammar of answers that do what the request's tool_choice demands, which must be a call.
// `named_marks` are as for ToolCallGrammar. INVALID_ARGUMENT if it is larger than a constraint may
// be.
absl::StatusOr<std::string> ForcedCallGrammar(ToolCallFormat format,
                                              absl::Span<const std::string> named_marks,
                                              const v1::GenerateRequest& request);

// About the size on the wire.
int64_t ToolCallBytes(const std::vector<v1::ToolCallDelta>& calls);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_SERVER_TOOL_CALLS_H_
