#include "model/files/safetensors.h"

#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/testing/allocated_bytes.h"
#include "model/testing/gguf_writer.h"
#include "model/testing/hf_folder.h"

namespace phalanx {
namespace {

using testing::AllOf;
using testing::HasSubstr;

absl::StatusOr<std::unique_ptr<SafetensorsFile>> OpenBytes(const std::string& bytes) {
  return SafetensorsFile::Open(WriteTempFile("t.safetensors", bytes));
}

// Bound on the memory for a header and that many bytes of data. Nothing large may be allocated: a
// JSON value of two bytes takes some tens of bytes, in a vector that grows.
absl::Status StatusOf(const std::string& header, size_t data_bytes) {
  const std::string bytes = SafetensorsWriter::File(header, std::string(data_bytes, '\0'));
  const std::string path = WriteTempFile("t.safetensors", bytes);
  const size_t allocated = AllocatedBytes();
  const absl::Status status = SafetensorsFile::Open(path).status();
  EXPECT_LE(AllocatedBytes() - allocated, kAllocationBase + 128 * header.size());
  return status;
}

SafetensorsWriter SmallFile() {
  SafetensorsWriter writer;
  writer.AddF32("matrix", {2, 3}, {1, 2, 3, 4, 5, 6});
  writer.AddTensor("half", "F16", {4}, "01234567");
  writer.AddTensor("brain", "BF16", {2, 1}, "abcd");
  writer.AddF32("scalar", {}, {7});
  return writer;
}

TEST(SafetensorsTest, TensorsHaveTheirTypesShapesAndData) {
  const auto file = OpenBytes(SmallFile().Finish());
  ASSERT_TRUE(file.ok()) << file.status();
  const auto tensors = (*file)->tensors();
  ASSERT_EQ(tensors.size(), 4u);
  EXPECT_EQ(tensors[0].name, "matrix");
  EXPECT_EQ(tensors[0].type, TensorType::kF32);
  EXPECT_EQ(tensors[0].rows, 2);
  EXPECT_EQ(tensors[0].cols, 3);
  EXPECT_EQ(tensors[1].type, TensorType::kF16);
  EXPECT_EQ(tensors[1].rows, 1);
  EXPECT_EQ(tensors[1].cols, 4);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(tensors[1].data.data()), 8), "01234567");
  EXPECT_EQ(tensors[2].type, TensorType::kBF16);
  EXPECT_EQ(tensors[2].rows, 2);
  EXPECT_EQ(tensors[2].cols, 1);
  EXPECT_EQ(tensors[3].rows * tensors[3].cols, 1);
  EXPECT_EQ((*file)->header().size() % 8, 0u);
  (*file)->DropPages();
  EXPECT_EQ(tensors[2].data[0], std::byte{'a'}) << "views stay valid";
}

TEST(SafetensorsTest, TensorsMayBeListedInAnyOrder) {
  const std::string header = R"({"b":{"dtype":"F16","shape":[1],"data_offsets":[4,6]},)"
                             R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  EXPECT_TRUE(StatusOf(header, 6).ok()) << StatusOf(header, 6);
}

TEST(SafetensorsTest, TruncationAtEveryByteIsDataLoss) {
  const std::string whole = SmallFile().Finish();
  for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
    const std::string path = WriteTempFile("t.safetensors", whole.substr(0, bytes));
    const size_t allocated = AllocatedBytes();
    const absl::Status status = SafetensorsFile::Open(path).status();
    ASSERT_LE(AllocatedBytes() - allocated, kAllocationBase + 128 * bytes) << bytes;
    ASSERT_EQ(status.code(), absl::StatusCode::kDataLoss) << bytes << " " << status;
    ASSERT_THAT(std::string(status.message()), HasSubstr("t.safetensors"));
  }
}

// Whatever a byte becomes, the file is refused or every view lies inside it.
TEST(SafetensorsTest, AnyByteMayBeWrong) {
  const std::string whole = SmallFile().Finish();
  for (size_t i = 0; i < whole.size(); ++i) {
    for (const int flip : {0x01, 0x10, 0x80, 0xff}) {
      std::string bytes = whole;
      bytes[i] = static_cast<char>(bytes[i] ^ flip);
      const auto file = OpenBytes(bytes);
      if (!file.ok()) continue;
      for (const TensorView& tensor : (*file)->tensors()) {
        for (const std::byte byte : tensor.data) ASSERT_LE(static_cast<int>(byte), 0xff);
      }
    }
  }
}

struct BadHeader {
  std::string what;
  std::string header;
  size_t data_bytes;
  std::string message;
  absl::StatusCode code = absl::StatusCode::kDataLoss;
};

std::string One(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return absl::StrCat(R"({"w":{"dtype":")", dtype, R"(","shape":)", shape, R"(,"data_offsets":)",
                      offsets, "}}");
}

std::string Two(const std::string& offsets_of_a, const std::string& offsets_of_b) {
  return absl::StrCat(R"({"a":{"dtype":"F16","shape":[2],"data_offsets":)", offsets_of_a,
                      R"(},"b":{"dtype":"F16","shape":[2],"data_offsets":)", offsets_of_b, "}}");
}

std::vector<BadHeader> BadHeaders() {
  constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;
  return {
      {"Empty", "", 0, "does not begin with {"},
      {"Array", "[]", 0, "does not begin with {"},
      {"LeadingSpace", " {}", 0, "does not begin with {"},
      {"Nested", "{\"a\":" + std::string(100000, '['), 0, "nested deeper than 3"},
      {"NestedObjects", R"({"a":{"shape":{"x":{}}}})", 0, "nested deeper than 3"},
      {"NulAndMore", std::string("{}\0evil", 7), 0, "header: byte 2: a NUL byte"},
      // Only spaces may pad a header.
      {"NulPadding", std::string("{}\0\0\0\0\0\0", 8), 0, "header: byte 2: a NUL byte"},
      {"Utf8", "{\"\xff\":1}", 0, "header: byte"},
      {"TensorTwice",
       R"({"w":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},)"
       R"("w":{"dtype":"F16","shape":[1],"data_offsets":[2,4]}})",
       4, "\"w\" is there twice"},
      {"ShapeTwice", R"({"w":{"dtype":"F16","shape":[1],"shape":[1],"data_offsets":[0,2]}})", 2,
       "\"shape\" is there twice"},
      {"NoShape", R"({"w":{"dtype":"F16","data_offsets":[0,2]}})", 2, "tensor w: not an object of"},
      {"KeyTooMany", R"({"w":{"dtype":"F16","shape":[1],"data_offsets":[0,2],"x":1}})", 2,
       "tensor w: not an object of"},
      {"TensorOfText", R"({"w":"F16"})", 0, "tensor w: not an object of"},
      {"NoName", R"({"":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}})", 2, "0 bytes"},
      {"LongName",
       absl::StrCat("{\"", std::string(600, 'n'),
                    R"(":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}})"),
       2, "600 bytes"},
      {"DtypeOfNumber", R"({"w":{"dtype":1,"shape":[1],"data_offsets":[0,2]}})", 2,
       "tensor w: dtype is an integer"},
      {"OtherDtype", One("F8_E4M3", "[1]", "[0,1]"), 1, "dtype \"F8_E4M3\" cannot be read; F32",
       kUnimplemented},
      {"ShapeOfText", One("F16", "\"1\"", "[0,2]"), 2, "shape is not an array"},
      {"NegativeShape", One("F16", "[-1]", "[0,2]"), 2, "shape has -1"},
      {"FractionalShape", One("F16", "[1.0]", "[0,2]"), 2, "shape has 1"},
      {"ShapeOf2To64", One("F16", "[18446744073709551616]", "[0,2]"), 2, "shape has"},
      {"CountOf2To63", One("F16", "[9223372036854775808]", "[0,2]"), 2, "are more than the file"},
      // 2^32 * 2^32 wraps to 0, and 2^63 * 2 bytes too.
      {"WrappingProduct", One("F16", "[4294967296,4294967296]", "[0,0]"), 0, "2^64 or more"},
      {"WrappingToSmall", One("F16", "[4294967297,4294967297]", "[0,2]"), 2, "2^64 or more"},
      {"WrappingInBytes", One("F32", "[4611686018427387905]", "[0,4]"), 4,
       "tensor w: 4611686018427387905 elements are more than the file"},
      {"DimensionOf2To63Twice", One("F16", "[9223372036854775808,2]", "[0,0]"), 0,
       "tensor w: the product of the shape is 2^64 or more"},
      {"DimensionOf2To64Minus1", One("F16", "[18446744073709551615]", "[0,2]"), 2,
       "tensor w: 18446744073709551615 elements are more than the file"},
      // A factor of zero must not hide a product that wraps.
      {"WrappingBeforeZero", One("F16", "[4294967296,4294967296,0]", "[0,0]"), 0, "2^64 or more"},
      {"OffsetsOf2To63", One("F16", "[1]", "[9223372036854775806,9223372036854775808]"), 2,
       "tensor w: a hole of 9223372036854775806 bytes"},
      {"EndOf2To64Minus1", One("F16", "[1]", "[0,18446744073709551615]"), 2,
       "tensor w: data_offsets 0 and 18446744073709551615"},
      {"OverlapAtTheStart", Two("[2,6]", "[0,4]"), 6, "tensor a: begins at 2, inside a tensor"},
      {"NestedInShape", One("F16", std::string(100000, '['), "[0,2]"), 2, "nested deeper than 3"},
      {"ManyDimensions", One("F16", "[1,1,1,1,1,1,1,1,1]", "[0,2]"), 2, "at most 8"},
      {"ThreeDimensions", One("F16", "[1,1,1]", "[0,2]"), 2, "3 dimensions", kUnimplemented},
      {"NoElements", One("F16", "[0]", "[0,0]"), 0, "without elements", kUnimplemented},
      {"OneOffset", One("F16", "[1]", "[2]"), 2, "data_offsets are not two numbers"},
      {"ThreeOffsets", One("F16", "[1]", "[0,2,2]"), 2, "data_offsets are not two numbers"},
      {"NegativeOffset", One("F16", "[1]", "[-2,0]"), 2, "data_offsets are not two numbers"},
      {"EndBeforeBegin", One("F16", "[1]", "[2,0]"), 2, "data_offsets 2 and 0"},
      {"SizeOfOther", One("F16", "[2]", "[0,2]"), 2, "take 4 bytes"},
      {"BeyondTheFile", One("F16", "[2]", "[0,4]"), 2, "ends at 4, where the data have 2"},
      {"HugeOffsets", One("F16", "[1]", "[18446744073709551613,18446744073709551615]"), 2, "hole"},
      {"HoleAtTheStart", One("F16", "[1]", "[2,4]"), 4, "tensor w: a hole of 2 bytes"},
      {"HoleBetween", Two("[0,4]", "[6,10]"), 10, "tensor b: a hole of 2 bytes"},
      {"HoleAtTheEnd", One("F16", "[1]", "[0,2]"), 3, "3 bytes, of which tensors fill only 2"},
      {"Overlap", Two("[0,4]", "[2,6]"), 6, "tensor b: begins at 2, inside a tensor"},
      {"SamePlace", Two("[0,4]", "[0,4]"), 4, "inside a tensor that ends at 4"},
      {"MetadataOfNumbers", R"({"__metadata__":{"format":1}})", 0, "__metadata__: format"},
      {"MetadataOfText", R"({"__metadata__":"pt"})", 0, "__metadata__"},
      {"OtherFramework", R"({"__metadata__":{"format":"flax"}})", 0, "format \"flax\"",
       kUnimplemented},
  };
}

TEST(SafetensorsTest, BrokenHeadersAreRefusedNamingFileTensorAndReason) {
  for (const BadHeader& bad : BadHeaders()) {
    SCOPED_TRACE(bad.what);
    const absl::Status status = StatusOf(bad.header, bad.data_bytes);
    EXPECT_EQ(status.code(), bad.code) << status;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("t.safetensors: "), HasSubstr(bad.message)));
  }
}

TEST(SafetensorsTest, HeadersLongerThanTheFileAreRefusedBeforeReading) {
  for (const uint64_t size : {uint64_t{3}, uint64_t{100'000'001}, uint64_t{1} << 63, UINT64_MAX}) {
    const std::string path = WriteTempFile("t.safetensors", GgufWriter::Bytes(size) + "{}");
    const size_t allocated = AllocatedBytes();
    const absl::Status status = SafetensorsFile::Open(path).status();
    EXPECT_LE(AllocatedBytes() - allocated, kAllocationBase);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(status.message()), HasSubstr("bytes of header"));
  }
}

TEST(SafetensorsFolderTest, OneFileNeedsNoIndex) {
  const std::string folder =
      WriteTempFolder("single", {{"model.safetensors", SmallFile().Finish()}});
  const auto files = OpenSafetensorsFolder(folder);
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_EQ(files->size(), 1u);
}

class IndexTest : public testing::Test {
 protected:
  IndexTest() {
    SafetensorsWriter first;
    first.AddF32("a", {1}, {1});
    SafetensorsWriter second;
    second.AddF32("b", {1}, {2});
    files_ = {{"m-1.safetensors", first.Finish()}, {"m-2.safetensors", second.Finish()}};
  }

  absl::StatusOr<std::vector<std::unique_ptr<SafetensorsFile>>> Open(const std::string& index) {
    files_["model.safetensors.index.json"] = index;
    return OpenSafetensorsFolder(WriteTempFolder("sharded", files_));
  }
  void ExpectError(const std::string& index, const std::string& message,
                   absl::StatusCode code = absl::StatusCode::kDataLoss) {
    const absl::Status status = Open(index).status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  }

  std::map<std::string, std::string> files_;
};

TEST_F(IndexTest, FilesAreOpenedInOrderOfTheirNames) {
  const auto files = Open(R"({"metadata":{"total_size":8},
                              "weight_map":{"b":"m-2.safetensors","a":"m-1.safetensors"}})");
  ASSERT_TRUE(files.ok()) << files.status();
  ASSERT_EQ(files->size(), 2u);
  EXPECT_EQ((*files)[0]->tensors()[0].name, "a");
  EXPECT_EQ((*files)[1]->tensors()[0].name, "b");
}

TEST_F(IndexTest, NamesStayInTheFolder) {
  for (const char* name :
       {"../m-1.safetensors", "/etc/passwd", "x/m-1.safetensors", "", "config.json"}) {
    ExpectError(absl::StrCat(R"({"weight_map":{"a":")", name, "\"}}"), "weight_map: tensor a");
  }
  ExpectError(R"({"weight_map":{"a":1}})", "weight_map: tensor a");
  ExpectError(R"({"weight_map":{}})", "weight_map");
  ExpectError(R"({})", "weight_map");
  ExpectError(R"({"weight_map":{"a":"m-1.safetensors","a":"m-2.safetensors"}})", "there twice");
}

TEST_F(IndexTest, IndexAndFilesMustAgree) {
  ExpectError(R"({"weight_map":{"a":"m-1.safetensors","b":"m-1.safetensors"}})",
              "m-1.safetensors: tensor b: missing");
  ExpectError(R"({"weight_map":{"a":"m-1.safetensors","c":"m-2.safetensors"}})",
              "m-2.safetensors: tensor b");
  ExpectError(R"({"weight_map":{"a":"m-3.safetensors"}})", "m-3.safetensors",
              absl::StatusCode::kNotFound);
}

TEST_F(IndexTest, EveryTruncationIsRefused) {
  const std::string whole =
      R"({"metadata":{"total_size":8},"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors"}})";
  ASSERT_TRUE(Open(whole).ok());
  for (size_t size = 0; size < whole.size(); ++size) {
    ExpectError(whole.substr(0, size), "model.safetensors.index.json: ");
  }
  ExpectError(R"({"weight_map":)" + std::string(100000, '{'), "index.json: byte");
  ExpectError(R"({"weight_map":{"a":)" + std::string(100000, '['), "nested deeper than 4");
}

TEST(SafetensorsFolderTest, AFolderWithoutWeightsTellsWhatIsMissing) {
  const absl::Status status = OpenSafetensorsFolder(WriteTempFolder("none", {})).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("model.safetensors"), HasSubstr("model.safetensors.index.json")));
}

}  // namespace
}  // namespace phalanx
