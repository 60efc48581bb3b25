// Checks JSON values against a schema that a caller sent.
#ifndef PHALANX_COORDINATOR_TEXT_SCHEMA_JSON_SCHEMA_H_
#define PHALANX_COORDINATOR_TEXT_SCHEMA_JSON_SCHEMA_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

struct PhalanxSchema;

namespace phalanx {

// JSON Schema of drafts 4 to 2020-12, as "$schema" says, by default 2020-12; "format" is not
// checked. Immutable, so thread-safe.
//
// Time and memory are bounded: a schema with more than 10,000 parts, references written out, one
// that refers to itself or to another document, patterns that look around or are large when
// compiled, and schemas and values that are too large together are left unchecked.
class JsonSchema {
 public:
  enum class Verdict { kValid, kInvalid, kUnchecked };
  struct Result {
    Verdict verdict = Verdict::kValid;
    // Why it is not valid, or not checked; at most 300 characters.
    std::string reason = {};
  };

  // INVALID_ARGUMENT if `text` is no JSON or no schema. A schema that cannot be checked against is
  // no error: Check says so each time.
  static absl::StatusOr<std::unique_ptr<JsonSchema>> Create(absl::string_view text);
  JsonSchema(const JsonSchema&) = delete;
  JsonSchema& operator=(const JsonSchema&) = delete;
  ~JsonSchema();

  // `json` is the text of a value.
  Result Check(absl::string_view json) const;

 private:
  JsonSchema(PhalanxSchema* schema, std::string unchecked)
      : schema_(schema), unchecked_(std::move(unchecked)) {}

  // Null if unchecked_ says why there is none.
  PhalanxSchema* const schema_;
  const std::string unchecked_;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_SCHEMA_JSON_SCHEMA_H_
