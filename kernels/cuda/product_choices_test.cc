#include "kernels/cuda/product_choices.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "gtest/gtest.h"

namespace phalanx::kernels::cuda {

bool operator==(const CublasLtAlgo& a, const CublasLtAlgo& b) {
  return std::equal(std::begin(a.data), std::end(a.data), std::begin(b.data));
}

namespace {

const ProductDevice kDevice = {
    .name = "NVIDIA H200", .major = 9, .minor = 0, .library_version = 130100};

CublasLtAlgo Algo(uint64_t first) {
  CublasLtAlgo algo;
  for (uint64_t& word : algo.data) word = first++ * 0x9e3779b97f4a7c15;
  return algo;
}

ProductChoices SomeChoices() {
  return {{{.outputs = 3072, .inputs = 8192, .most_rows = 128}, Algo(1)},
          {{.outputs = 3072, .inputs = 8192, .most_rows = 256}, std::nullopt},
          {{.outputs = 3072,
            .inputs = 8192,
            .most_rows = 128,
            .in_type = DType::kF32,
            .out_type = DType::kF32,
            .adds = true},
           Algo(7)}};
}

class ProductChoicesTest : public testing::Test {
 protected:
  ProductChoicesTest()
      : folder_(testing::TempDir() + "/choices-" +
                testing::UnitTest::GetInstance()->current_test_info()->name() + "/new") {
    std::filesystem::remove_all(folder_);
  }
  std::string path() const { return folder_ + "/" + ChoicesFileName(kDevice); }

  const std::string folder_;
};

TEST_F(ProductChoicesTest, AFileGivesBackWhatWasPutIn) {
  EXPECT_TRUE(absl::IsNotFound(ReadChoices(folder_, kDevice).status()));
  ASSERT_TRUE(WriteChoices(folder_, kDevice, SomeChoices()).ok());
  const auto read = ReadChoices(folder_, kDevice);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, SomeChoices());
  // Nothing else stays in the folder.
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1);
}

TEST_F(ProductChoicesTest, WritingKeepsOtherChoicesAndReplacesItsOwn) {
  const ProductShape old_shape = {.outputs = 1, .inputs = 2, .most_rows = 128};
  ASSERT_TRUE(WriteChoices(folder_, kDevice, {{old_shape, Algo(3)}}).ok());
  ASSERT_TRUE(WriteChoices(folder_, kDevice, SomeChoices()).ok());
  ProductChoices changed = {{{.outputs = 3072, .inputs = 8192, .most_rows = 256}, Algo(9)}};
  ASSERT_TRUE(WriteChoices(folder_, kDevice, changed).ok());
  ProductChoices expected = changed;
  expected.merge(SomeChoices());
  expected[old_shape] = Algo(3);
  const auto read = ReadChoices(folder_, kDevice);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, expected);
}

TEST_F(ProductChoicesTest, DevicesAndVersionsHaveFilesOfTheirOwn) {
  ProductDevice other = kDevice;
  other.library_version = 130200;
  EXPECT_NE(ChoicesFileName(other), ChoicesFileName(kDevice));
  const absl::Status foreign = ParseChoices(other, FormatChoices(kDevice, SomeChoices())).status();
  EXPECT_TRUE(absl::IsInvalidArgument(foreign)) << foreign;
  other = kDevice;
  other.minor = 1;
  EXPECT_NE(ChoicesFileName(other), ChoicesFileName(kDevice));
  other = kDevice;
  other.name = "NVIDIA H100";
  EXPECT_NE(ChoicesFileName(other), ChoicesFileName(kDevice));
}

TEST_F(ProductChoicesTest, TextThatIsCutOrChangedAnywhereIsRefused) {
  const std::string text = FormatChoices(kDevice, SomeChoices());
  ASSERT_TRUE(ParseChoices(kDevice, text).ok());
  for (size_t i = 0; i < text.size(); ++i) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseChoices(kDevice, text.substr(0, i)).status())) << i;
    std::string changed = text;
    changed[i] ^= 1;
    EXPECT_TRUE(absl::IsInvalidArgument(ParseChoices(kDevice, changed).status())) << i;
  }
}

TEST_F(ProductChoicesTest, AFileWithoutEndIsRefused) {
  std::filesystem::create_directories(folder_);
  std::ofstream(path()) << FormatChoices(kDevice, SomeChoices()) << std::string(5 << 20, '\n');
  const absl::Status status = ReadChoices(folder_, kDevice).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
}

TEST_F(ProductChoicesTest, AFolderThatCannotBeMadeIsAnError) {
  const std::string file = testing::TempDir() + "/no-folder";
  std::ofstream(file) << "x";
  const absl::Status status = WriteChoices(file, kDevice, SomeChoices());
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_TRUE(absl::IsUnavailable(ReadChoices(file, kDevice).status()));
}

}  // namespace
}  // namespace phalanx::kernels::cuda
