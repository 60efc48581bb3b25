#include "base/message_fields.h"

#include "google/protobuf/descriptor.pb.h"
#include "google/protobuf/wrappers.pb.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

TEST(MessageFieldsTest, AFieldThatIsNotOptionalAlwaysHasAValue) {
  google::protobuf::Int32Value message;
  int32_t number = 7;
  EXPECT_TRUE(GetField(message, "value", &number));
  EXPECT_EQ(number, 0);
  SetField("value", 5, &message);
  EXPECT_EQ(message.value(), 5);
  EXPECT_TRUE(GetField(message, "value", &number));
  EXPECT_EQ(number, 5);

  google::protobuf::FloatValue fraction;
  float value = 0;
  SetField("value", 0.5f, &fraction);
  EXPECT_TRUE(GetField(fraction, "value", &value));
  EXPECT_EQ(value, 0.5f);
}

TEST(MessageFieldsTest, AnUnsetOptionalFieldLeavesTheValue) {
  google::protobuf::FieldDescriptorProto message;
  int32_t number = 7;
  EXPECT_FALSE(GetField(message, "number", &number));
  EXPECT_EQ(number, 7);
  message.set_number(0);
  EXPECT_TRUE(GetField(message, "number", &number));
  EXPECT_EQ(number, 0);
}

TEST(MessageFieldsDeathTest, AFieldThatDoesNotExistOrHasAnotherTypeIsAMistakeInTheProgram) {
  google::protobuf::Int32Value message;
  EXPECT_DEATH(SetField("valu", 1, &message), "no such field of that type: valu");
  EXPECT_DEATH(SetField("value", 1.0f, &message), "no such field of that type: value");
}

}  // namespace
}  // namespace phalanx
