// The bytes of a message, measured before they are parsed, and then parsed: whether both take them
// for well-formed, and whether the cost covers what the parser builds.

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/dynamic_message.h>
#include <google/protobuf/message.h>
#include <google/protobuf/stubs/logging.h>
#include <google/protobuf/unknown_field_set.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "base/log.h"
#include "phalanx/v1/inference.pb.h"
#include "phalanx/worker/v1/engine.pb.h"
#include "rpc/message_cost.h"

namespace phalanx {
namespace {

using ::google::protobuf::DescriptorPool;
using ::google::protobuf::DescriptorProto;
using ::google::protobuf::DynamicMessageFactory;
using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::FieldDescriptorProto;
using ::google::protobuf::FileDescriptorProto;
using ::google::protobuf::Message;
using ::google::protobuf::Reflection;
using ::google::protobuf::UnknownField;
using ::google::protobuf::UnknownFieldSet;

constexpr int64_t kNoLimit = int64_t{1} << 60;

// A type that is parsed like `like`, but whose parser says only whether the bytes are well-formed
// and keeps all that they hold: texts need not be UTF-8, and no member of a oneof drops another.
class LooseType {
 public:
  explicit LooseType(const Message& like) {
    FileDescriptorProto file;
    like.GetDescriptor()->file()->CopyTo(&file);
    for (DescriptorProto& message : *file.mutable_message_type()) Loosen(&message);
    CHECK(pool_.BuildFile(file) != nullptr) << file.name();
    prototype_ = factory_.GetPrototype(pool_.FindMessageTypeByName(like.GetTypeName()));
  }

  std::unique_ptr<Message> NewMessage() const {
    return std::unique_ptr<Message>(prototype_->New());
  }

 private:
  static void Loosen(DescriptorProto* message) {
    message->clear_oneof_decl();
    for (FieldDescriptorProto& field : *message->mutable_field()) {
      field.clear_oneof_index();
      field.clear_proto3_optional();
      if (field.type() == FieldDescriptorProto::TYPE_STRING) {
        field.set_type(FieldDescriptorProto::TYPE_BYTES);
      }
    }
    for (DescriptorProto& nested : *message->mutable_nested_type()) Loosen(&nested);
  }

  DescriptorPool pool_;
  DynamicMessageFactory factory_;
  const Message* prototype_;
};

struct UnknownFields {
  bool any = false;
  bool groups = false;
};

void FindUnknownFields(const Message& message, UnknownFields* found) {
  const Reflection& reflection = *message.GetReflection();
  const UnknownFieldSet& unknown = reflection.GetUnknownFields(message);
  for (int i = 0; i < unknown.field_count(); ++i) {
    found->any = true;
    found->groups |= unknown.field(i).type() == UnknownField::TYPE_GROUP;
  }
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* const field : fields) {
    if (field->message_type() == nullptr) continue;
    if (!field->is_repeated()) {
      FindUnknownFields(reflection.GetMessage(message, field), found);
      continue;
    }
    for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
      FindUnknownFields(reflection.GetRepeatedMessage(message, field, i), found);
    }
  }
}

bool Parse(absl::string_view bytes, Message* message) {
  return message->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
}

void CheckLimit(const Message& prototype, absl::string_view bytes, const MessageCost& cost) {
  const absl::StatusOr<MessageCost> just = MeasureMessage(prototype, bytes, cost.bytes);
  CHECK(just.ok()) << just.status();
  CHECK(just->bytes == cost.bytes);
  if (cost.bytes == 0) return;
  const absl::Status less = MeasureMessage(prototype, bytes, cost.bytes - 1).status();
  CHECK(absl::IsInvalidArgument(less) && absl::StrContains(less.message(), "bytes of memory"))
      << less;
}

// One type of messages, and what holds for any bytes that are to be one of them.
class Target {
 public:
  explicit Target(const Message& prototype) : prototype_(prototype), loose_type_(prototype) {}

  void Check(absl::string_view bytes) const {
    const std::unique_ptr<Message> loose = loose_type_.NewMessage();
    const bool well_formed = Parse(bytes, loose.get());
    UnknownFields unknown;
    FindUnknownFields(*loose, &unknown);

    const absl::StatusOr<MessageCost> cost = MeasureMessage(prototype_, bytes, kNoLimit);
    CHECK(cost.ok() == (well_formed && !unknown.groups))
        << prototype_.GetTypeName() << ": " << well_formed << " " << unknown.groups << " "
        << cost.status();
    const std::unique_ptr<Message> parsed(prototype_.New());
    const bool is_parsed = Parse(bytes, parsed.get());
    CHECK(well_formed || !is_parsed) << prototype_.GetTypeName();
    if (!cost.ok()) {
      CHECK(absl::StrContains(cost.status().message(), "malformed")) << cost.status();
      return;
    }
    CHECK(cost->unknown_field.empty() == !unknown.any) << prototype_.GetTypeName();
    CheckLimit(prototype_, bytes, *cost);
    // What was built before an error in a text counts too.
    const auto built = static_cast<int64_t>(parsed->SpaceUsedLong());
    const auto empty = static_cast<int64_t>(prototype_.SpaceUsedLong());
    CHECK(built <= empty + 2 * cost->bytes)
        << prototype_.GetTypeName() << ": " << built << " bytes built, " << cost->bytes << " told";
  }

 private:
  const Message& prototype_;
  const LooseType loose_type_;
};

}  // namespace
}  // namespace phalanx

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  // Each text that is not UTF-8 would be an error in the log.
  google::protobuf::SetLogHandler(nullptr);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace phalanx;
  static const Target requests(v1::GenerateRequest::default_instance());
  static const Target commands(worker::v1::SessionRequest::default_instance());
  // For its lists of numbers of a fixed width.
  static const Target events(worker::v1::SessionResponse::default_instance());
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  requests.Check(bytes);
  commands.Check(bytes);
  events.Check(bytes);
  return 0;
}
