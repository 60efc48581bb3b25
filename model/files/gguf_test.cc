#include "model/files/gguf.h"

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/testing/allocated_bytes.h"
#include "model/testing/gguf_writer.h"

namespace phalanx {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

std::string Floats(int count) {
  std::string bytes;
  for (int i = 0; i < count; ++i) bytes += GgufWriter::Bytes(0.5f * static_cast<float>(i));
  return bytes;
}

// A file with one of everything, in a few hundred bytes.
GgufWriter SmallFile() {
  GgufWriter writer;
  writer.AddString("general.name", "small");
  writer.AddBool("a.bool", true);
  writer.AddPair("a.u8", 0, GgufWriter::Bytes<uint8_t>(200));
  writer.AddPair("a.i8", 1, GgufWriter::Bytes<int8_t>(-3));
  writer.AddPair("a.u16", 2, GgufWriter::Bytes<uint16_t>(60000));
  writer.AddPair("a.i16", 3, GgufWriter::Bytes<int16_t>(-300));
  writer.AddU32("a.u32", 4000000000u);
  writer.AddI32("a.i32", -5);
  writer.AddU64("a.u64", 1ull << 63);
  writer.AddPair("a.i64", 11, GgufWriter::Bytes<int64_t>(-6));
  writer.AddF32("a.f32", 1.5f);
  writer.AddPair("a.f64", 12, GgufWriter::Bytes(2.5));
  writer.AddStrings("a.strings", {"x", "", "yz"});
  writer.AddI32s("a.i32s", {1, -2, 3});
  writer.AddPair(
      "a.floats", 9,
      absl::StrCat(GgufWriter::Bytes<uint32_t>(6), GgufWriter::Bytes<uint64_t>(2), Floats(2)));
  writer.AddTensor("vector", TensorType::kF32, {3}, Floats(3));
  writer.AddTensor("matrix", TensorType::kQ8_0, {32, 2}, std::string(2 * 34, '\x7f'));
  return writer;
}

TEST(GgufTest, ReadsMetadataOfEveryType) {
  const auto file = GgufFile::Open(SmallFile().WriteToTemp("small.gguf"));
  ASSERT_TRUE(file.ok()) << file.status();
  const GgufFile& f = **file;
  EXPECT_EQ(f.GetString("general.name").value(), "small");
  EXPECT_EQ(f.GetBool("a.bool").value(), true);
  EXPECT_EQ(f.GetInt("a.u8").value(), 200);
  EXPECT_EQ(f.GetInt("a.i8").value(), -3);
  EXPECT_EQ(f.GetInt("a.u16").value(), 60000);
  EXPECT_EQ(f.GetInt("a.i16").value(), -300);
  EXPECT_EQ(f.GetInt("a.u32").value(), 4000000000);
  EXPECT_EQ(f.GetInt("a.i32").value(), -5);
  EXPECT_EQ(f.GetInt("a.i64").value(), -6);
  EXPECT_EQ(f.GetFloat("a.f32").value(), 1.5);
  EXPECT_EQ(f.GetFloat("a.f64").value(), 2.5);
  EXPECT_THAT(f.GetStrings("a.strings").value(), ElementsAre("x", "", "yz"));
  EXPECT_THAT(f.GetInts("a.i32s").value(), ElementsAre(1, -2, 3));
  EXPECT_THAT(f.GetFloats("a.floats").value(), ElementsAre(0, 0.5));
  EXPECT_EQ(f.Keys().size(), 15u);
}

TEST(GgufTest, MissingKeyIsNotFoundAndWrongTypeIsDataLoss) {
  const auto file = GgufFile::Open(SmallFile().WriteToTemp("types.gguf"));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_FALSE((*file)->Has("b"));
  EXPECT_EQ((*file)->GetInt("b").status().code(), absl::StatusCode::kNotFound);
  const absl::Status wrong = (*file)->GetInt("a.f32").status();
  EXPECT_EQ(wrong.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(wrong.message()), AllOf(HasSubstr("types.gguf"), HasSubstr("a.f32")));
  EXPECT_EQ((*file)->GetInt("a.u64").status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ((*file)->GetString("a.strings").status().code(), absl::StatusCode::kDataLoss);
}

TEST(GgufTest, TensorsHaveTheirShapesAndData) {
  const auto file = GgufFile::Open(SmallFile().WriteToTemp("tensors.gguf"));
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ((*file)->tensors().size(), 2u);
  const TensorView* vector = (*file)->FindTensor("vector");
  ASSERT_NE(vector, nullptr);
  EXPECT_EQ(vector->rows, 1);
  EXPECT_EQ(vector->cols, 3);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(vector->data.data()), vector->data.size()),
            Floats(3));
  const TensorView* matrix = (*file)->FindTensor("matrix");
  ASSERT_NE(matrix, nullptr);
  EXPECT_EQ(matrix->rows, 2);
  EXPECT_EQ(matrix->cols, 32);
  EXPECT_EQ(matrix->data.size(), 68u);
  EXPECT_EQ((*file)->FindTensor("other"), nullptr);
  (*file)->DropPages();
  EXPECT_EQ(matrix->data.back(), std::byte{0x7f}) << "views stay valid";
}

TEST(GgufTest, MissingFileIsNotFound) {
  const absl::Status status = GgufFile::Open("/nonexistent/m.gguf").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/nonexistent/m.gguf"));
  EXPECT_EQ(GgufFile::Open(testing::TempDir()).status().code(), absl::StatusCode::kDataLoss);
}

// Bound on the memory for reading a file of that size: a key of 14 bytes takes a slot of a growing
// table.
size_t MaxAllocatedBytes(size_t file_bytes) { return kAllocationBase + 64 * file_bytes; }

TEST(GgufTest, TruncationAtEveryByteIsDataLoss) {
  const std::string whole = SmallFile().Finish();
  for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
    const std::string path = WriteTempFile("cut.gguf", whole.substr(0, bytes));
    const size_t allocated = AllocatedBytes();
    const auto file = GgufFile::Open(path);
    ASSERT_LE(AllocatedBytes() - allocated, MaxAllocatedBytes(bytes)) << bytes;
    ASSERT_EQ(file.status().code(), absl::StatusCode::kDataLoss) << bytes << " " << file.status();
    ASSERT_THAT(std::string(file.status().message()), HasSubstr("cut.gguf"));
  }
}

// Whatever a byte becomes, the file is refused or every view lies inside it.
TEST(GgufTest, NoChangedByteLeadsOutOfTheFile) {
  const std::string whole = SmallFile().Finish();
  for (size_t at = 0; at < whole.size(); ++at) {
    for (const int flip : {0x01, 0x10, 0x80, 0xff}) {
      std::string changed = whole;
      changed[at] = static_cast<char>(changed[at] ^ flip);
      const auto file = GgufFile::Open(WriteTempFile("changed.gguf", changed));
      if (!file.ok()) continue;
      unsigned sum = 0;
      for (const TensorView& tensor : (*file)->tensors()) {
        for (const std::byte byte : tensor.data) sum += static_cast<unsigned>(byte);
      }
      EXPECT_LT(sum, whole.size() * 256);
    }
  }
}

struct BadFile {
  std::string what;
  std::function<void(GgufWriter&)> spoil;
  std::string named;    // The key or tensor that the message must name.
  std::string message;  // And what else it must say.
  absl::StatusCode code = absl::StatusCode::kDataLoss;
};

class GgufBadFileTest : public testing::TestWithParam<BadFile> {};

TEST_P(GgufBadFileTest, IsRefused) {
  GgufWriter writer = SmallFile();
  GetParam().spoil(writer);
  const std::string path = writer.WriteToTemp("bad.gguf");
  const size_t allocated = AllocatedBytes();
  const absl::Status status = GgufFile::Open(path).status();
  EXPECT_LE(AllocatedBytes() - allocated, MaxAllocatedBytes(writer.Finish().size()));
  EXPECT_EQ(status.code(), GetParam().code) << status;
  EXPECT_THAT(
      std::string(status.message()),
      AllOf(HasSubstr("bad.gguf"), HasSubstr(GetParam().named), HasSubstr(GetParam().message)));
}

constexpr uint64_t kHuge = std::numeric_limits<uint64_t>::max();
constexpr uint64_t kTwoTo63 = uint64_t{1} << 63;

std::string ArrayHead(uint32_t type, uint64_t count) {
  return absl::StrCat(GgufWriter::Bytes(type), GgufWriter::Bytes(count));
}

// An array in an array in an array ...
std::string NestedArrays(int depth) {
  std::string bytes;
  for (int i = 0; i < depth; ++i) bytes += ArrayHead(9, 1);
  return bytes + ArrayHead(4, 0);
}

INSTANTIATE_TEST_SUITE_P(
    Metadata, GgufBadFileTest,
    testing::Values(
        BadFile{"Version1", [](GgufWriter& w) { w.version = 1; }, "header", "version 1"},
        BadFile{"BigEndian", [](GgufWriter& w) { w.version = 0x03000000; }, "header", "version"},
        BadFile{"KeyTwice", [](GgufWriter& w) { w.AddU32("a.u32", 1); }, "a.u32", "twice"},
        BadFile{"EmptyKey", [](GgufWriter& w) { w.AddU32("", 1); }, "key number 15", "empty"},
        BadFile{"LongKey", [](GgufWriter& w) { w.AddU32(std::string(65536, 'k'), 1); },
                "key number 15", "too long"},
        BadFile{"BoolOfTwo",
                [](GgufWriter& w) { w.AddPair("b", 7, GgufWriter::Bytes<uint8_t>(2)); }, "key b",
                "bool"},
        BadFile{"BoolOfTwoInArray",
                [](GgufWriter& w) { w.AddPair("b", 9, ArrayHead(7, 2) + std::string("\0\2", 2)); },
                "key b", "bool"},
        BadFile{"UnknownValueType", [](GgufWriter& w) { w.AddPair("b", 13, "xxxx"); }, "key b",
                "type 13"},
        BadFile{"UnknownArrayType", [](GgufWriter& w) { w.AddPair("b", 9, ArrayHead(99, 0)); },
                "key b", "type 99"},
        BadFile{"StringPastTheEnd",
                [](GgufWriter& w) { w.AddPair("b", 8, GgufWriter::Bytes(kHuge)); }, "key b",
                "bytes"},
        BadFile{"ArrayPastTheEnd", [](GgufWriter& w) { w.AddPair("b", 9, ArrayHead(12, kHuge)); },
                "key b", "array of 18446744073709551615"},
        BadFile{"ArrayWhoseBytesWrapAround",
                [](GgufWriter& w) { w.AddPair("b", 9, ArrayHead(12, (kHuge >> 3) + 2)); }, "key b",
                "array of"},
        BadFile{"StringsPastTheEnd", [](GgufWriter& w) { w.AddPair("b", 9, ArrayHead(8, kHuge)); },
                "key b", "strings"},
        BadFile{
            "ArrayElementAboveInt64",
            [](GgufWriter& w) { w.AddPair("b", 9, ArrayHead(10, 1) + GgufWriter::Bytes(kHuge)); },
            "key b", "2^63"},
        BadFile{"NestedArray",
                [](GgufWriter& w) { w.AddPair("b", 9, ArrayHead(9, 1) + ArrayHead(4, 0)); },
                "key b", "array of arrays", absl::StatusCode::kUnimplemented},
        BadFile{"ArraysNestedDeeply",
                [](GgufWriter& w) { w.AddPair("b", 9, NestedArrays(100000)); }, "key b",
                "array of arrays", absl::StatusCode::kUnimplemented},
        BadFile{"StringOf2To63Bytes",
                [](GgufWriter& w) { w.AddPair("b", 8, GgufWriter::Bytes(kTwoTo63)); }, "key b",
                "a string of 9223372036854775808 bytes"},
        BadFile{"ArrayOf2To63Bytes",
                [](GgufWriter& w) { w.AddPair("b", 9, ArrayHead(0, kTwoTo63)); }, "key b",
                "an array of 9223372036854775808 values"},
        BadFile{"ArrayOf2To63Strings",
                [](GgufWriter& w) { w.AddPair("b", 9, ArrayHead(8, kTwoTo63)); }, "key b",
                "an array of 9223372036854775808 strings"},
        // 2^61 strings have 2^64 bytes of lengths.
        BadFile{"StringsWhoseLengthsWrapAround",
                [](GgufWriter& w) { w.AddPair("b", 9, ArrayHead(8, uint64_t{1} << 61)); }, "key b",
                "strings"},
        BadFile{"StringInArrayPastTheEnd",
                [](GgufWriter& w) {
                  w.AddPair(
                      "b", 9,
                      ArrayHead(8, 2) + GgufWriter::String("x") + GgufWriter::Bytes(kTwoTo63));
                },
                "key b", "a string of 9223372036854775808 bytes"},
        BadFile{"AlignmentOf2To63", [](GgufWriter& w) { w.AddU64("general.alignment", kTwoTo63); },
                "general.alignment", "not an integer below 2^63"},
        BadFile{"AlignmentOf2To40",
                [](GgufWriter& w) { w.AddU64("general.alignment", uint64_t{1} << 40); },
                "general.alignment",
                "an alignment of 1099511627776 is not a multiple of 8 from 8 to 1048576"},
        BadFile{"AlignmentOfZero", [](GgufWriter& w) { w.AddU32("general.alignment", 0); },
                "general.alignment", "multiple of 8"},
        BadFile{"OddAlignment", [](GgufWriter& w) { w.AddU32("general.alignment", 12); },
                "general.alignment", "multiple of 8"},
        BadFile{"AlignmentOfText", [](GgufWriter& w) { w.AddString("general.alignment", "8"); },
                "general.alignment", "not an integer"}),
    [](const auto& info) { return info.param.what; });

INSTANTIATE_TEST_SUITE_P(
    Tensors, GgufBadFileTest,
    testing::Values(
        BadFile{"NameTwice",
                [](GgufWriter& w) { w.AddTensor("vector", TensorType::kF32, {1}, Floats(1)); },
                "vector", "twice"},
        BadFile{"NameOf65Bytes",
                [](GgufWriter& w) { w.AddTensorInfo(std::string(65, 'n'), 0, {1}, 0); },
                "tensor number 2", "65 bytes"},
        BadFile{"NoName", [](GgufWriter& w) { w.AddTensorInfo("", 0, {1}, 0); }, "tensor number 2",
                "0 bytes"},
        BadFile{"NoDimensions", [](GgufWriter& w) { w.AddTensorInfo("t", 0, {}, 0); }, "tensor t",
                "0 dimensions"},
        BadFile{"FiveDimensions",
                [](GgufWriter& w) {
                  w.AddTensorInfo("t", 0, {1, 1, 1, 1, 1}, 0);
                },
                "tensor t", "5 dimensions"},
        BadFile{"ThreeDimensions",
                [](GgufWriter& w) {
                  w.AddTensorInfo("t", 0, {1, 1, 1}, 0);
                },
                "tensor t", "3 dimensions", absl::StatusCode::kUnimplemented},
        BadFile{"ZeroRows",
                [](GgufWriter& w) {
                  w.AddTensorInfo("t", 0, {32, 0}, 0);
                },
                "tensor t", "zero"},
        BadFile{"ZeroColumns",
                [](GgufWriter& w) {
                  w.AddTensorInfo("t", 0, {0, 32}, 0);
                },
                "tensor t", "zero"},
        BadFile{"HalfABlock", [](GgufWriter& w) { w.AddTensorInfo("t", 3, {48}, 0); }, "tensor t",
                "blocks of 32"},
        BadFile{"RemovedType", [](GgufWriter& w) { w.AddTensorInfo("t", 4, {32}, 0); }, "tensor t",
                "type 4", absl::StatusCode::kUnimplemented},
        BadFile{"SizeThatWrapsAround",
                [](GgufWriter& w) {
                  w.AddTensorInfo("t", 0, {1ull << 32, 1ull << 32}, 0);
                },
                "tensor t", "more than the file"},
        BadFile{"RowThatWrapsAround",
                [](GgufWriter& w) { w.AddTensorInfo("t", 28, {1ull << 61}, 0); }, "tensor t",
                "more than the file"},
        // 2^63 * 2 * 4 bytes wrap to none.
        BadFile{"DimensionOf2To63",
                [](GgufWriter& w) {
                  w.AddTensorInfo("t", 0, {kTwoTo63, 2}, 0);
                },
                "tensor t", "2 rows of 9223372036854775808 elements are more than the file"},
        BadFile{"DimensionsOf2To64Minus1",
                [](GgufWriter& w) {
                  w.AddTensorInfo("t", 24, {kHuge, kHuge}, 0);
                },
                "tensor t", "more than the file"},
        // In bytes 2^64 + 4.
        BadFile{"RowsThatWrapToOne",
                [](GgufWriter& w) {
                  w.AddTensorInfo("t", 0, {1, (uint64_t{1} << 62) + 1}, 0);
                },
                "tensor t", "more than the file"},
        BadFile{"BlocksThatWrapToOne",
                [](GgufWriter& w) {
                  // Blocks of 34 bytes: 34 * 2^63 is a multiple of 2^64.
                  w.AddTensorInfo("t", 8, {32, kTwoTo63 + 1}, 0);
                },
                "tensor t", "more than the file"},
        BadFile{"OffsetOf2To63", [](GgufWriter& w) { w.AddTensorInfo("t", 0, {1}, kTwoTo63); },
                "tensor t", "offset 9223372036854775808"},
        BadFile{"SamePlaceTwice", [](GgufWriter& w) { w.AddTensorInfo("t", 0, {3}, 0); }, "tensor",
                "overlaps"},
        BadFile{"OffsetOffTheAlignment", [](GgufWriter& w) { w.AddTensorInfo("t", 0, {1}, 8); },
                "tensor t", "offset 8"},
        BadFile{"OffsetPastTheEnd", [](GgufWriter& w) { w.AddTensorInfo("t", 0, {1}, 1 << 20); },
                "tensor t", "past the end"},
        BadFile{"OffsetThatWrapsAround",
                [](GgufWriter& w) { w.AddTensorInfo("t", 0, {32}, kHuge - 31); }, "tensor t",
                "past the end"},
        BadFile{"Overlap", [](GgufWriter& w) { w.AddTensorInfo("t", 0, {8}, 32); }, "tensor",
                "overlaps"}),
    [](const auto& info) { return info.param.what; });

TEST(GgufTest, FilesOfAnotherKindAndPartsOfOneAreToldApart) {
  const std::string whole = SmallFile().Finish();
  const auto error = [](absl::string_view bytes) {
    const std::string path = WriteTempFile("part.gguf", std::string(bytes));
    return std::string(GgufFile::Open(path).status().message());
  };
  EXPECT_THAT(error("hi\n"), HasSubstr("not a GGUF file"));
  EXPECT_THAT(error("Not a model."), HasSubstr("not a GGUF file"));
  for (const size_t size : {size_t{6}, size_t{30}, whole.size() - 1}) {
    EXPECT_THAT(error(whole.substr(0, size)), HasSubstr("truncated or damaged")) << size;
  }
}

TEST(GgufTest, CountsThatDoNotFitAreRefused) {
  const std::string whole = SmallFile().Finish();
  for (const size_t at : {8, 16}) {  // Tensors, pairs.
    // The last is the least that cannot be in a file of this size.
    for (const uint64_t count : {kHuge, kTwoTo63, uint64_t{1} << 32, whole.size() / 14 + 1}) {
      std::string bytes = whole;
      bytes.replace(at, 8, GgufWriter::Bytes(count));
      const std::string path = WriteTempFile("counts.gguf", bytes);
      const size_t allocated = AllocatedBytes();
      const absl::Status status = GgufFile::Open(path).status();
      EXPECT_LE(AllocatedBytes() - allocated, MaxAllocatedBytes(bytes.size()));
      EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
      EXPECT_THAT(std::string(status.message()),
                  AllOf(HasSubstr("counts.gguf: header"), HasSubstr(absl::StrCat(count))));
    }
  }
}

TEST(GgufTest, ATensorNameOf2To63BytesIsRefused) {
  GgufWriter writer;
  writer.AddTensorInfo("name", 0, {1}, 0);
  std::string bytes = writer.Finish();
  bytes.replace(24, 8, GgufWriter::Bytes(kTwoTo63));
  const absl::Status status = GgufFile::Open(WriteTempFile("name.gguf", bytes)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("name.gguf: tensor number 0"), HasSubstr("9223372036854775808")));
}

// Alignment makes holes in every file, so that none is refused.
TEST(GgufTest, HolesBetweenTensorsAreLegal) {
  GgufWriter writer;
  writer.AddTensor("a", TensorType::kF32, {1}, std::string(1024, 'x'));
  writer.AddTensor("b", TensorType::kF32, {1}, std::string(1024, 'y'));
  const auto file = GgufFile::Open(writer.WriteToTemp("holes.gguf"));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->FindTensor("b")->data[0], std::byte{'y'});
}

TEST(GgufTest, AlignmentOfTheFileIsKept) {
  GgufWriter writer = SmallFile();
  EXPECT_TRUE(GgufFile::Open(writer.WriteToTemp("default.gguf")).ok());
  GgufWriter wide;
  wide.alignment = 256;
  wide.AddU32("general.alignment", 256);
  wide.AddTensor("a", TensorType::kF32, {1}, Floats(1));
  wide.AddTensor("b", TensorType::kF32, {2}, Floats(2));
  const auto file = GgufFile::Open(wide.WriteToTemp("wide.gguf"));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->header().size(), 256u);
  EXPECT_EQ((*file)->FindTensor("b")->data.data() - (*file)->FindTensor("a")->data.data(), 256);
}

TEST(GgufTest, TypesHaveNames) {
  EXPECT_EQ(TensorTypeName(TensorType::kQ4_1), "Q4_1");
  EXPECT_EQ(TensorTypeName(static_cast<TensorType>(42)), "type 42");
}

}  // namespace
}  // namespace phalanx
