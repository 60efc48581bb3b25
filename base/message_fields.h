// Reads and writes scalar fields of protobuf messages by their names, for values that several
// messages carry under the same name.
#ifndef PHALANX_BASE_MESSAGE_FIELDS_H_
#define PHALANX_BASE_MESSAGE_FIELDS_H_

#include <cstdint>

#include "absl/strings/string_view.h"
#include "google/protobuf/message.h"

namespace phalanx {

// The message must have a field of that name and type; if not, a CHECK ends the process.
void SetField(absl::string_view name, float value, google::protobuf::Message* message);
void SetField(absl::string_view name, int32_t value, google::protobuf::Message* message);

// Leaves `value` as it is, and returns false, for an optional field that is not set. A field that
// is not optional always has a value.
bool GetField(const google::protobuf::Message& message, absl::string_view name, float* value);
bool GetField(const google::protobuf::Message& message, absl::string_view name, int32_t* value);

}  // namespace phalanx

#endif  // PHALANX_BASE_MESSAGE_FIELDS_H_
