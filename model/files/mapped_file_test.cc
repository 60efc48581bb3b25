#include "model/files/mapped_file.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/testing/gguf_writer.h"

namespace phalanx {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr char kPointer[] =
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
    "size 98362432\n";

TEST(MappedFileTest, AGitLfsPointerIsCalledOne) {
  const auto file = MappedFile::Open(WriteTempFile("a.bin", kPointer));
  EXPECT_EQ(file.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(file.status().message()),
              AllOf(HasSubstr("a.bin: a Git LFS pointer"), HasSubstr("git lfs pull")));
  EXPECT_TRUE(MappedFile::Open(WriteTempFile("b.bin", "version 2")).ok());
}

}  // namespace
}  // namespace phalanx
