#include "model/files/gguf_split.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/testing/gguf_writer.h"

namespace phalanx {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// Part `number` (from 0) of `count`, with one tensor.
std::string WritePart(const std::string& name, int number, int count, int num_tensors) {
  GgufWriter writer;
  writer.AddPair("split.no", 2, GgufWriter::Bytes(static_cast<uint16_t>(number)));
  writer.AddPair("split.count", 2, GgufWriter::Bytes(static_cast<uint16_t>(count)));
  writer.AddI32("split.tensors.count", num_tensors);
  writer.AddTensor("t" + std::to_string(number), TensorType::kF32, {1}, std::string(4, '\0'));
  return writer.WriteToTemp(name);
}

absl::Status OpenStatus(const std::string& path) { return OpenGgufFiles(path).status(); }

TEST(GgufSplitTest, AFileOfItsOwnIsOneFile) {
  GgufWriter writer;
  const auto files = OpenGgufFiles(writer.WriteToTemp("whole.gguf"));
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_EQ(files->size(), 1u);
}

TEST(GgufSplitTest, AllPartsAreOpenedInOrder) {
  const std::string first = WritePart("s-00001-of-00003.gguf", 0, 3, 3);
  WritePart("s-00002-of-00003.gguf", 1, 3, 3);
  WritePart("s-00003-of-00003.gguf", 2, 3, 3);
  const auto files = OpenGgufFiles(first);
  ASSERT_TRUE(files.ok()) << files.status();
  ASSERT_EQ(files->size(), 3u);
  EXPECT_NE((*files)[2]->FindTensor("t2"), nullptr);
}

TEST(GgufSplitTest, AMissingPartIsNamed) {
  const std::string first = WritePart("m-00001-of-00002.gguf", 0, 2, 2);
  const absl::Status status = OpenStatus(first);
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("m-00002-of-00002.gguf"));
}

TEST(GgufSplitTest, AForeignPartIsNamed) {
  const std::string first = WritePart("f-00001-of-00002.gguf", 0, 2, 2);
  WritePart("f-00002-of-00002.gguf", 2, 3, 3);
  EXPECT_THAT(std::string(OpenStatus(first).message()),
              AllOf(HasSubstr("f-00002-of-00002.gguf"), HasSubstr("split.no: 2, where 1")));
  WritePart("f-00002-of-00002.gguf", 1, 3, 3);
  EXPECT_THAT(std::string(OpenStatus(first).message()), HasSubstr("split.count: 3, where 2"));
  GgufWriter().WriteToTemp("f-00002-of-00002.gguf");
  EXPECT_THAT(std::string(OpenStatus(first).message()),
              AllOf(HasSubstr("f-00002-of-00002.gguf"), HasSubstr("split.no")));
}

TEST(GgufSplitTest, OnlyTheFirstPartOpensTheModel) {
  const absl::Status status = OpenStatus(WritePart("o-00002-of-00002.gguf", 1, 2, 2));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("o-00001-of-00002.gguf"));
}

TEST(GgufSplitTest, NamesCountsAndTensorsMustAgree) {
  EXPECT_THAT(std::string(OpenStatus(WritePart("renamed.gguf", 0, 2, 2)).message()),
              HasSubstr("-00001-of-00002.gguf"));
  EXPECT_THAT(std::string(OpenStatus(WritePart("x-00005-of-00002.gguf", 4, 2, 2)).message()),
              HasSubstr("split.no: 4 of 2"));
  const std::string first = WritePart("n-00001-of-00002.gguf", 0, 2, 7);
  WritePart("n-00002-of-00002.gguf", 1, 2, 7);
  EXPECT_THAT(std::string(OpenStatus(first).message()),
              HasSubstr("split.tensors.count: 7, but the parts have 2 tensors"));
}

}  // namespace
}  // namespace phalanx
