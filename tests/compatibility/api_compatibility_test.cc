// What callers have been given of phalanx.v1 stays as it is: nothing is removed, renamed,
// renumbered or given another type.
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "google/protobuf/descriptor.pb.h"
#include "gtest/gtest.h"
#include "phalanx/v1/inference.pb.h"
#include "tests/compatibility/api_lines.h"

namespace phalanx {
namespace {

using google::protobuf::DescriptorPool;
using google::protobuf::DescriptorProto;
using google::protobuf::FieldDescriptorProto;
using google::protobuf::FileDescriptor;
using google::protobuf::FileDescriptorProto;
using testing::Contains;
using testing::IsEmpty;

const FileDescriptor& Api() { return *v1::GenerateRequest::descriptor()->file(); }

std::vector<std::string> Released() {
  std::ifstream file("tests/compatibility/api.txt");
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  EXPECT_FALSE(lines.empty());
  return lines;
}

TEST(ApiCompatibilityTest, WhatCallersHaveStays) {
  EXPECT_THAT(MissingLines(Released(), ApiLines(Api())), IsEmpty())
      << "Programs of callers may use these. A field that is no longer wanted stays, and its "
         "comment says so.";
}

TEST(ApiCompatibilityTest, WhatIsNewIsRecorded) {
  EXPECT_THAT(MissingLines(ApiLines(Api()), Released()), IsEmpty())
      << "To accept these additions: bazel run //tests/compatibility:describe_api "
         "> tests/compatibility/api.txt";
}

// What is missing after a change to the API.
std::vector<std::string> MissingAfter(const std::function<void(FileDescriptorProto&)>& change) {
  FileDescriptorProto proto;
  Api().CopyTo(&proto);
  change(proto);
  DescriptorPool pool;
  const FileDescriptor* const changed = pool.BuildFile(proto);
  EXPECT_NE(changed, nullptr);
  return MissingLines(ApiLines(Api()), ApiLines(*changed));
}

DescriptorProto& MessageNamed(const std::string& name, FileDescriptorProto& file) {
  for (DescriptorProto& message : *file.mutable_message_type()) {
    if (message.name() == name) return message;
  }
  throw std::out_of_range(name);
}

FieldDescriptorProto& FieldOf(const std::string& message, FileDescriptorProto& file) {
  return *MessageNamed(message, file).mutable_field(0);
}

TEST(ApiCompatibilityTest, EveryBreakIsSeen) {
  const std::string field = "field phalanx.v1.TokenIds 1 ids: repeated packed int32";
  EXPECT_THAT(
      MissingAfter([](FileDescriptorProto& file) { MessageNamed("TokenIds", file).clear_field(); }),
      Contains(field));
  EXPECT_THAT(
      MissingAfter([](FileDescriptorProto& file) { FieldOf("TokenIds", file).set_number(2); }),
      Contains(field));
  EXPECT_THAT(MissingAfter([](FileDescriptorProto& file) {
                FieldOf("TokenIds", file).set_type(FieldDescriptorProto::TYPE_INT64);
              }),
              Contains(field));
  EXPECT_THAT(MissingAfter([](FileDescriptorProto& file) {
                FieldOf("TokenIds", file).set_name("token_ids");
                FieldOf("TokenIds", file).clear_json_name();
              }),
              Contains(field));
  EXPECT_THAT(MissingAfter([](FileDescriptorProto& file) {
                FieldOf("TokenIds", file).set_label(FieldDescriptorProto::LABEL_OPTIONAL);
              }),
              Contains(field));
  EXPECT_THAT(MissingAfter([](FileDescriptorProto& file) {
                file.mutable_enum_type(0)->mutable_value(1)->set_number(77);
              }),
              testing::SizeIs(1));
  EXPECT_THAT(MissingAfter([](FileDescriptorProto& file) {
                file.mutable_service(0)->mutable_method(0)->set_server_streaming(false);
              }),
              testing::SizeIs(1));
  EXPECT_THAT(MissingAfter([](FileDescriptorProto& file) {
                file.mutable_service(0)->mutable_method()->DeleteSubrange(0, 1);
              }),
              testing::SizeIs(1));
}

TEST(ApiCompatibilityTest, AnAdditionBreaksNothing) {
  EXPECT_THAT(MissingAfter([](FileDescriptorProto& file) {
                FieldDescriptorProto& added = *MessageNamed("TokenIds", file).add_field();
                added.set_name("more");
                added.set_number(2);
                added.set_type(FieldDescriptorProto::TYPE_INT32);
                added.set_label(FieldDescriptorProto::LABEL_OPTIONAL);
              }),
              IsEmpty());
}

}  // namespace
}  // namespace phalanx
