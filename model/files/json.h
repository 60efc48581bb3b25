// Reads JSON from files that anybody may have made: config.json, tokenizer.json, the header of a
// safetensors file.
//
// Parsing is done by nlohmann's event parser, which checks UTF-8 and does not recurse. In addition
// the depth and the number of values are bounded, an object may not have a key twice, and integers
// are exact to 64 bits.
#ifndef PHALANX_MODEL_FILES_JSON_H_
#define PHALANX_MODEL_FILES_JSON_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace phalanx {

struct JsonMember;

// Immutable once parsed. Can be moved but not copied. Elements and members stay at their addresses
// when the value that holds them is moved.
class JsonValue {
 public:
  JsonValue();  // null
  JsonValue(JsonValue&& other) noexcept;
  JsonValue& operator=(JsonValue&& other) noexcept;
  ~JsonValue();

  bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
  bool is_array() const { return std::holds_alternative<Array>(value_); }
  bool is_object() const { return std::holds_alternative<std::unique_ptr<Object>>(value_); }

  // AsBool, AsInt, AsUnsigned, AsNumber and AsString return nothing, or null, if the value is
  // something else or does not fit. 1.0 is not an integer, but an integer is a number.
  std::optional<bool> AsBool() const;
  std::optional<int64_t> AsInt() const;
  std::optional<uint64_t> AsUnsigned() const;
  std::optional<double> AsNumber() const;
  const std::string* AsString() const { return std::get_if<std::string>(&value_); }

  // In file order. Empty if the value is not an array, or not an object.
  absl::Span<const JsonValue> elements() const;
  absl::Span<const JsonMember> members() const;

  // The member of that name; null if there is none, or if this is not an object. Takes constant
  // time.
  const JsonValue* Find(absl::string_view key) const;

  // For messages: "a string", "null".
  absl::string_view TypeName() const;
  // For messages: the value if it is short, or else its type.
  std::string Describe() const;

 private:
  friend class JsonBuilder;
  struct Object;
  using Array = std::vector<JsonValue>;
  // Integers of 2^63 and more are unsigned, all others are signed.
  std::variant<std::monostate, bool, int64_t, uint64_t, double, std::string, Array,
               std::unique_ptr<Object>>
      value_;
};

struct JsonMember {
  std::string key;
  JsonValue value;
};

struct JsonLimits {
  // How deep arrays and objects may be nested.
  int max_depth = 64;
  // How many values there may be, of all kinds. A value takes about 50 bytes of memory, however few
  // it takes in the file.
  size_t max_values = 16 << 20;
  size_t max_bytes = size_t{512} << 20;
};

// Parses `text`, which `source` names in errors. DATA_LOSS if the whole of it is not one JSON
// value, holds a key twice or exceeds a limit; the message names the byte.
absl::StatusOr<JsonValue> ParseJson(absl::string_view text, absl::string_view source,
                                    const JsonLimits& limits = {});

// Parses a file. In addition NOT_FOUND, PERMISSION_DENIED or UNAVAILABLE if it cannot be read.
absl::StatusOr<JsonValue> ReadJsonFile(const std::string& path, const JsonLimits& limits = {});

}  // namespace phalanx

#endif  // PHALANX_MODEL_FILES_JSON_H_
