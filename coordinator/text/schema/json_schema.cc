#include "coordinator/text/schema/json_schema.h"

#include <array>
#include <cstdint>

#include "absl/status/status.h"
#include "coordinator/text/schema/schema.h"

namespace phalanx {
namespace {

using Message = std::array<char, 1024>;

const uint8_t* Bytes(absl::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

}  // namespace

absl::StatusOr<std::unique_ptr<JsonSchema>> JsonSchema::Create(absl::string_view text) {
  Message message = {};
  PhalanxSchema* schema = nullptr;
  const int32_t result =
      phalanx_schema_compile(Bytes(text), text.size(), &schema, message.data(), message.size());
  if (result == kPhalanxSchemaInvalid) return absl::InvalidArgumentError(message.data());
  return std::unique_ptr<JsonSchema>(new JsonSchema(schema, message.data()));
}

JsonSchema::~JsonSchema() { phalanx_schema_free(schema_); }

JsonSchema::Result JsonSchema::Check(absl::string_view json) const {
  if (schema_ == nullptr) return {Verdict::kUnchecked, unchecked_};
  Message message = {};
  switch (phalanx_schema_check(schema_, Bytes(json), json.size(), message.data(), message.size())) {
    case kPhalanxSchemaOk:
      return {};
    case kPhalanxSchemaInvalid:
      return {Verdict::kInvalid, message.data()};
    default:
      return {Verdict::kUnchecked, message.data()};
  }
}

}  // namespace phalanx
