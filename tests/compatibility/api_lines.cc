#include "tests/compatibility/api_lines.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"

namespace phalanx {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using google::protobuf::MethodDescriptor;
using google::protobuf::ServiceDescriptor;

std::string TypeOf(const FieldDescriptor& field) {
  if (field.message_type() != nullptr) return field.message_type()->full_name();
  if (field.enum_type() != nullptr) return field.enum_type()->full_name();
  return field.type_name();
}

std::string LabelOf(const FieldDescriptor& field) {
  if (field.is_repeated()) return field.is_packed() ? "repeated packed " : "repeated ";
  if (field.real_containing_oneof() != nullptr) {
    return absl::StrCat("oneof ", field.real_containing_oneof()->name(), " ");
  }
  return field.has_optional_keyword() ? "optional " : "";
}

void AddEnum(const EnumDescriptor& type, std::vector<std::string>* lines) {
  lines->push_back(absl::StrCat("enum ", type.full_name()));
  for (int i = 0; i < type.value_count(); ++i) {
    lines->push_back(absl::StrCat("value ", type.full_name(), " ", type.value(i)->number(), " ",
                                  type.value(i)->name()));
  }
}

void AddMessage(const Descriptor& message, std::vector<std::string>* lines) {
  lines->push_back(absl::StrCat("message ", message.full_name()));
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    lines->push_back(absl::StrCat("field ", message.full_name(), " ", field.number(), " ",
                                  field.name(), ": ", LabelOf(field), TypeOf(field)));
  }
  for (int i = 0; i < message.nested_type_count(); ++i) AddMessage(*message.nested_type(i), lines);
  for (int i = 0; i < message.enum_type_count(); ++i) AddEnum(*message.enum_type(i), lines);
}

void AddService(const ServiceDescriptor& service, std::vector<std::string>* lines) {
  lines->push_back(absl::StrCat("service ", service.full_name()));
  for (int i = 0; i < service.method_count(); ++i) {
    const MethodDescriptor& method = *service.method(i);
    lines->push_back(absl::StrCat(
        "method ", method.full_name(), ": ", method.client_streaming() ? "stream " : "",
        method.input_type()->full_name(), " -> ", method.server_streaming() ? "stream " : "",
        method.output_type()->full_name()));
  }
}

}  // namespace

std::vector<std::string> ApiLines(const FileDescriptor& file) {
  std::vector<std::string> lines;
  for (int i = 0; i < file.message_type_count(); ++i) AddMessage(*file.message_type(i), &lines);
  for (int i = 0; i < file.enum_type_count(); ++i) AddEnum(*file.enum_type(i), &lines);
  for (int i = 0; i < file.service_count(); ++i) AddService(*file.service(i), &lines);
  std::sort(lines.begin(), lines.end());
  return lines;
}

std::vector<std::string> MissingLines(const std::vector<std::string>& released,
                                      const std::vector<std::string>& current) {
  std::vector<std::string> missing;
  std::copy_if(released.begin(), released.end(), std::back_inserter(missing),
               [&](const std::string& line) {
                 return std::find(current.begin(), current.end(), line) == current.end();
               });
  return missing;
}

}  // namespace phalanx
