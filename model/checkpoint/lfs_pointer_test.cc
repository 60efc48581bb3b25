// Git LFS pointers, which git leaves in place of large files that were not fetched.
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/checkpoint/checkpoint.h"
#include "model/testing/gguf_writer.h"
#include "model/testing/hf_folder.h"
#include "model/testing/tiny_hf_model.h"

namespace phalanx {
namespace {

using testing::HasSubstr;

constexpr char kPointer[] =
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
    "size 98362432\n";

TEST(LfsPointerTest, InPlaceOfAnyFileOfAModelIsCalledOne) {
  const absl::Status gguf = Checkpoint::Open(WriteTempFile("lfs.gguf", kPointer)).status();
  EXPECT_THAT(std::string(gguf.message()), HasSubstr("lfs.gguf: a Git LFS pointer"));
  for (const char* name : {"config.json", "generation_config.json", "tokenizer.json",
                           "tokenizer_config.json", "chat_template.jinja", "model.safetensors"}) {
    std::map<std::string, std::string> files = TinyHfModel({});
    files[name] = kPointer;
    const auto checkpoint = Checkpoint::Open(WriteTempFolder("lfs", files));
    const absl::Status status =
        checkpoint.ok() ? (*checkpoint)->ReadTokenizer().status() : checkpoint.status();
    EXPECT_THAT(std::string(status.message()),
                HasSubstr(absl::StrCat("lfs/", name, ": a Git LFS pointer")));
  }
}

}  // namespace
}  // namespace phalanx
