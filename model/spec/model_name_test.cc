#include "model/spec/model_name.h"

#include <filesystem>
#include <string>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

namespace fs = std::filesystem;

constexpr char kHash[] = "0e3b1e2d02ee478a3743abe3f629e9c0cb722e0a";

TEST(FileModelNameTest, IsTheBaseNameWithoutWhatTellsHowItIsStored) {
  EXPECT_EQ(FileModelName("/m/SmolLM2-135M-Instruct.Q4_1.gguf"), "SmolLM2-135M-Instruct");
  EXPECT_EQ(FileModelName("Phi-4-mini-Q4_K_M-00001-of-00003.gguf"), "Phi-4-mini");
  EXPECT_EQ(FileModelName("a-IQ4_NL.gguf"), "a");
  EXPECT_EQ(FileModelName("../a-BF16.gguf"), "a");
  EXPECT_EQ(FileModelName("a-b.gguf"), "a-b");
  EXPECT_EQ(FileModelName("/m/a.bin"), "a.bin");
}

class FolderModelNameTest : public testing::Test {
 protected:
  FolderModelNameTest() {
    fs::remove_all(root_);
    fs::create_directories(root_ / "plain" / "inside");
    fs::create_directories(Snapshot("models--microsoft--Phi-4-mini-reasoning"));
    fs::create_directories(Snapshot("models--gpt2"));
  }

  fs::path Snapshot(const std::string& repository) const {
    return root_ / "hub" / repository / "snapshots" / kHash;
  }
  // With `folder` as the working directory.
  static std::string NameFrom(const fs::path& folder, const std::string& path) {
    const fs::path before = fs::current_path();
    fs::current_path(folder);
    std::string name = FolderModelName(path);
    fs::current_path(before);
    return name;
  }

  const fs::path root_ = fs::path(testing::TempDir()) / "model_name_test";
};

TEST_F(FolderModelNameTest, IsTheLastPartOfThePath) {
  const std::string plain = (root_ / "plain").string();
  EXPECT_EQ(FolderModelName(plain), "plain");
  EXPECT_EQ(FolderModelName(plain + "/"), "plain");
  EXPECT_EQ(FolderModelName(plain + "///"), "plain");
  EXPECT_EQ(FolderModelName(plain + "/../plain"), "plain");
  EXPECT_EQ(NameFrom(root_, "plain"), "plain");
  EXPECT_EQ(NameFrom(root_, "./plain/"), "plain");
}

TEST_F(FolderModelNameTest, DotsAreNoName) {
  const std::string plain = (root_ / "plain").string();
  EXPECT_EQ(NameFrom(root_ / "plain", "."), "plain");
  EXPECT_EQ(NameFrom(root_ / "plain", "./"), "plain");
  EXPECT_EQ(NameFrom(root_ / "plain" / "inside", ".."), "plain");
  EXPECT_EQ(NameFrom(root_ / "plain" / "inside", "../."), "plain");
  EXPECT_EQ(FolderModelName(plain + "/."), "plain");
  EXPECT_EQ(FolderModelName(plain + "/inside/.."), "plain");
  EXPECT_EQ(FolderModelName("/"), "model");
  EXPECT_EQ(FolderModelName("/."), "model");
}

TEST_F(FolderModelNameTest, IsTheRepositoryInAHuggingFaceCache) {
  const fs::path snapshot = Snapshot("models--microsoft--Phi-4-mini-reasoning");
  const std::string name = "Phi-4-mini-reasoning";
  EXPECT_EQ(FolderModelName(snapshot.string()), name);
  EXPECT_EQ(FolderModelName(snapshot.string() + "/"), name);
  EXPECT_EQ(FolderModelName(snapshot.string() + "/."), name);
  EXPECT_EQ(FolderModelName(snapshot.string() + "/../" + kHash), name);
  EXPECT_EQ(NameFrom(snapshot, "."), name);
  EXPECT_EQ(NameFrom(snapshot.parent_path(), kHash), name);
  EXPECT_EQ(NameFrom(snapshot.parent_path().parent_path(), std::string("snapshots/") + kHash),
            name);
  EXPECT_EQ(FolderModelName(Snapshot("models--gpt2").string()), "gpt2");
  // A folder that was copied out of a cache.
  EXPECT_EQ(FolderModelName("/m/models--microsoft--Phi-4-mini-reasoning"), name);
  // A cache of data sets has the same folders.
  fs::create_directories(Snapshot("datasets--a--b"));
  EXPECT_EQ(FolderModelName(Snapshot("datasets--a--b").string()), kHash);
}

TEST_F(FolderModelNameTest, ALinkIsTheNameThatSomebodyGave) {
  const fs::path snapshot = Snapshot("models--microsoft--Phi-4-mini-reasoning");
  fs::create_directory_symlink(snapshot, root_ / "my-phi");
  EXPECT_EQ(FolderModelName((root_ / "my-phi").string()), "my-phi");
  EXPECT_EQ(FolderModelName((root_ / "my-phi").string() + "/"), "my-phi");
  // For "." only the real path has a name.
  EXPECT_EQ(NameFrom(root_ / "my-phi", "."), "Phi-4-mini-reasoning");
  // A cache that is reached by a link, and one whose snapshots are links.
  fs::create_directory_symlink(root_ / "hub", root_ / "cache");
  EXPECT_EQ(FolderModelName((root_ / "cache/models--gpt2/snapshots" / kHash).string()), "gpt2");
  fs::create_directory_symlink(root_ / "plain", Snapshot("models--gpt2").parent_path() / "main");
  EXPECT_EQ(FolderModelName((Snapshot("models--gpt2").parent_path() / "main").string()), "gpt2");
}

TEST_F(FolderModelNameTest, WhatIsNotThereHasItsNameToo) {
  EXPECT_EQ(FolderModelName("/nowhere/a"), "a");
  EXPECT_EQ(FolderModelName(""), "model");
}

}  // namespace
}  // namespace phalanx
