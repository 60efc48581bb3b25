#include "base/message_fields.h"

#include <string>

#include "base/log.h"
#include "google/protobuf/descriptor.h"

namespace phalanx {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

const FieldDescriptor* FindField(const Message& message, absl::string_view name,
                                 FieldDescriptor::CppType type) {
  const FieldDescriptor* const field = message.GetDescriptor()->FindFieldByName(std::string(name));
  CHECK(field != nullptr && field->cpp_type() == type && !field->is_repeated())
      << message.GetTypeName() << " has no such field of that type: " << name;
  return field;
}

// The field; null if it is optional and not set.
const FieldDescriptor* FindValue(const Message& message, absl::string_view name,
                                 FieldDescriptor::CppType type) {
  const FieldDescriptor* const field = FindField(message, name, type);
  const bool unset = field->has_presence() && !message.GetReflection()->HasField(message, field);
  return unset ? nullptr : field;
}

}  // namespace

void SetField(absl::string_view name, float value, Message* message) {
  message->GetReflection()->SetFloat(
      message, FindField(*message, name, FieldDescriptor::CPPTYPE_FLOAT), value);
}

void SetField(absl::string_view name, int32_t value, Message* message) {
  message->GetReflection()->SetInt32(
      message, FindField(*message, name, FieldDescriptor::CPPTYPE_INT32), value);
}

bool GetField(const Message& message, absl::string_view name, float* value) {
  const FieldDescriptor* const field = FindValue(message, name, FieldDescriptor::CPPTYPE_FLOAT);
  if (field == nullptr) return false;
  *value = message.GetReflection()->GetFloat(message, field);
  return true;
}

bool GetField(const Message& message, absl::string_view name, int32_t* value) {
  const FieldDescriptor* const field = FindValue(message, name, FieldDescriptor::CPPTYPE_INT32);
  if (field == nullptr) return false;
  *value = message.GetReflection()->GetInt32(message, field);
  return true;
}

}  // namespace phalanx
