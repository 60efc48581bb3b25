#include "model/files/gguf_parser.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "model/files/gguf_reader.h"

namespace phalanx {
namespace {

constexpr size_t kMaxKeyBytes = 65535;
constexpr size_t kMaxTensorNameBytes = 64;
constexpr uint32_t kMaxDimensions = 4;
constexpr int64_t kMaxAlignment = 1 << 20;
// The least bytes that a pair and a tensor info can take: with names of one byte, a value of one
// byte and one dimension.
constexpr size_t kMinPairBytes = 8 + 1 + 4 + 1;
constexpr size_t kMinInfoBytes = 8 + 1 + 4 + 8 + 4 + 8;

// How many elements a type packs together, and into how many bytes. 1 for types that are not
// packed.
struct Block {
  uint64_t elements;
  uint64_t bytes;
};

std::optional<Block> BlockOf(uint32_t ggml_type) {
  switch (ggml_type) {
    case 0:   // F32
    case 26:  // I32
      return Block{1, 4};
    case 1:   // F16
    case 25:  // I16
    case 30:  // BF16
      return Block{1, 2};
    case 2:  // Q4_0
      return Block{32, 18};
    case 3:  // Q4_1
      return Block{32, 20};
    case 6:  // Q5_0
      return Block{32, 22};
    case 7:  // Q5_1
      return Block{32, 24};
    case 8:  // Q8_0
      return Block{32, 34};
    case 9:  // Q8_1
      return Block{32, 36};
    case 10:  // Q2_K
      return Block{256, 84};
    case 11:  // Q3_K
      return Block{256, 110};
    case 12:  // Q4_K
      return Block{256, 144};
    case 13:  // Q5_K
      return Block{256, 176};
    case 14:  // Q6_K
      return Block{256, 210};
    case 20:  // IQ4_NL
      return Block{32, 18};
    case 15:  // Q8_K
      return Block{256, 292};
    case 24:  // I8
      return Block{1, 1};
    case 27:  // I64
    case 28:  // F64
      return Block{1, 8};
    default:
      return std::nullopt;
  }
}

// An object parses one file.
class GgufParser {
 public:
  GgufParser(absl::Span<const std::byte> bytes, const std::string& path) : reader_(bytes, path) {}

  absl::StatusOr<GgufContents> Parse();

 private:
  absl::Status ParsePair();
  absl::Status ReadAlignment();
  absl::Status ParseTensorInfo();
  absl::Status PlaceTensors();

  GgufReader reader_;
  GgufContents contents_;
  // What the format says if the key general.alignment is not there.
  uint64_t alignment_ = 32;
  // Where the infos say that the data of each tensor of contents_.tensors begin, counted from the
  // beginning of all data, and how many bytes they are.
  std::vector<uint64_t> offsets_;
  std::vector<uint64_t> sizes_;
};

absl::StatusOr<GgufContents> GgufParser::Parse() {
  char magic[4];
  const bool has_magic = reader_.Read(magic).ok() && std::memcmp(magic, "GGUF", sizeof(magic)) == 0;
  if (!has_magic) return reader_.Broken("not a GGUF file");
  uint32_t version = 0;
  RETURN_IF_ERROR(reader_.Read(version));
  if (version != 2 && version != 3) {
    return reader_.Broken(absl::StrCat("version ", version, ", where 2 or 3 can be read"));
  }
  uint64_t num_tensors = 0;
  uint64_t num_pairs = 0;
  RETURN_IF_ERROR(reader_.Read(num_tensors));
  RETURN_IF_ERROR(reader_.Read(num_pairs));
  // So a few bytes cannot announce more than the file can hold, and make us allocate for it.
  if (num_pairs > reader_.bytes_left() / kMinPairBytes ||
      num_tensors > reader_.bytes_left() / kMinInfoBytes) {
    return reader_.Broken(absl::StrCat("announces ", num_pairs, " keys and ", num_tensors,
                                       " tensors, but only ", reader_.bytes_left(),
                                       " bytes follow: the file is truncated or damaged"));
  }
  for (uint64_t i = 0; i < num_pairs; ++i) {
    reader_.set_context(absl::StrCat("key number ", i));
    RETURN_IF_ERROR(ParsePair());
  }
  RETURN_IF_ERROR(ReadAlignment());
  contents_.tensors.reserve(num_tensors);
  for (uint64_t i = 0; i < num_tensors; ++i) {
    reader_.set_context(absl::StrCat("tensor number ", i));
    RETURN_IF_ERROR(ParseTensorInfo());
  }
  RETURN_IF_ERROR(PlaceTensors());
  return std::move(contents_);
}

absl::Status GgufParser::ParsePair() {
  absl::string_view key;
  RETURN_IF_ERROR(reader_.ReadString(key));
  if (key.empty() || key.size() > kMaxKeyBytes)
    return reader_.Broken("the key is empty or too long");
  reader_.set_context(absl::StrCat("key ", PrintableGgufName(key)));
  // Readers could disagree about which of the two counts.
  if (contents_.metadata.contains(key)) return reader_.Broken("the key is there twice");
  ASSIGN_OR_RETURN(GgufValue value, ReadGgufValue(reader_));
  contents_.metadata.emplace(key, std::move(value));
  return absl::OkStatus();
}

absl::Status GgufParser::ReadAlignment() {
  reader_.set_context("key general.alignment");
  const auto value = contents_.metadata.find("general.alignment");
  if (value == contents_.metadata.end()) return absl::OkStatus();
  const int64_t* const stored = std::get_if<int64_t>(&value->second);
  if (stored == nullptr) return reader_.Broken("not an integer below 2^63");
  const int64_t alignment = *stored;
  if (alignment < 8 || alignment % 8 != 0 || alignment > kMaxAlignment) {
    return reader_.Broken(absl::StrCat("an alignment of ", alignment,
                                       " is not a multiple of 8 from 8 to ", kMaxAlignment));
  }
  alignment_ = static_cast<uint64_t>(alignment);
  return absl::OkStatus();
}

absl::Status GgufParser::ParseTensorInfo() {
  absl::string_view name;
  RETURN_IF_ERROR(reader_.ReadString(name));
  if (name.empty() || name.size() > kMaxTensorNameBytes) {
    return reader_.Broken(absl::StrCat("the name has ", name.size(), " bytes, 1 to ",
                                       kMaxTensorNameBytes, " are allowed"));
  }
  reader_.set_context(absl::StrCat("tensor ", PrintableGgufName(name)));
  const int index = static_cast<int>(contents_.tensors.size());
  if (!contents_.tensor_index.emplace(name, index).second)
    return reader_.Broken("the tensor is there twice");

  uint32_t num_dimensions = 0;
  RETURN_IF_ERROR(reader_.Read(num_dimensions));
  if (num_dimensions < 1 || num_dimensions > kMaxDimensions) {
    return reader_.Broken(absl::StrCat(num_dimensions, " dimensions"));
  }
  if (num_dimensions > 2) {
    return reader_.Unsupported(
        absl::StrCat(num_dimensions, " dimensions, where 1 or 2 can be read"));
  }
  uint64_t dimensions[2] = {1, 1};
  for (uint32_t i = 0; i < num_dimensions; ++i) RETURN_IF_ERROR(reader_.Read(dimensions[i]));
  uint32_t type = 0;
  uint64_t offset = 0;
  RETURN_IF_ERROR(reader_.Read(type));
  RETURN_IF_ERROR(reader_.Read(offset));

  // GGUF lists the fastest dimension first.
  const auto [cols, rows] = dimensions;
  if (cols == 0 || rows == 0) return reader_.Broken("a dimension of zero");
  const std::optional<Block> block = BlockOf(type);
  if (!block) return reader_.Unsupported(absl::StrCat("elements of type ", type));
  if (cols % block->elements != 0) {
    return reader_.Broken(
        absl::StrCat("rows of ", cols, " elements in blocks of ", block->elements));
  }
  uint64_t size = 0;
  if (__builtin_mul_overflow(cols / block->elements, block->bytes, &size) ||
      __builtin_mul_overflow(size, rows, &size) || size > reader_.bytes().size()) {
    return reader_.Broken(
        absl::StrCat(rows, " rows of ", cols, " elements are more than the file"));
  }
  if (offset % alignment_ != 0) {
    return reader_.Broken(absl::StrCat("offset ", offset, " is not a multiple of ", alignment_));
  }
  // The size fits into the file, so rows and columns fit into int64.
  contents_.tensors.push_back({std::string(name),
                               static_cast<TensorType>(type),
                               static_cast<int64_t>(rows),
                               static_cast<int64_t>(cols),
                               {}});
  offsets_.push_back(offset);
  sizes_.push_back(size);
  return absl::OkStatus();
}

absl::Status GgufParser::PlaceTensors() {
  // The data begin at the next multiple of the alignment. A file without tensors may end before it.
  const uint64_t data_start = (reader_.position() + alignment_ - 1) / alignment_ * alignment_;
  if (data_start > reader_.bytes().size() && !contents_.tensors.empty()) {
    reader_.set_context("tensor data");
    return reader_.Broken("the file ends here: it is truncated or damaged");
  }
  contents_.header = absl::MakeConstSpan(reader_.bytes().data(),
                                         std::min<uint64_t>(data_start, reader_.bytes().size()));
  const uint64_t data_bytes = reader_.bytes().size() - contents_.header.size();

  std::vector<size_t> order(contents_.tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(),
            [this](size_t a, size_t b) { return offsets_[a] < offsets_[b]; });
  // In the order of their data, so that an overlap shows between neighbours. Holes are allowed,
  // since each tensor is aligned.
  uint64_t end = 0;
  for (const size_t i : order) {
    TensorView& tensor = contents_.tensors[i];
    reader_.set_context(absl::StrCat("tensor ", PrintableGgufName(tensor.name)));
    if (offsets_[i] > data_bytes || sizes_[i] > data_bytes - offsets_[i]) {
      return reader_.Broken(absl::StrCat("offset ", offsets_[i], " and size ", sizes_[i],
                                         " go past the end of the data, which has ", data_bytes,
                                         " bytes: the file is truncated or damaged"));
    }
    if (offsets_[i] < end) return reader_.Broken("the tensor overlaps another");
    end = offsets_[i] + sizes_[i];
    tensor.data = absl::MakeConstSpan(reader_.bytes().data() + data_start + offsets_[i], sizes_[i]);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GgufContents> ParseGguf(absl::Span<const std::byte> bytes, const std::string& path) {
  return GgufParser(bytes, path).Parse();
}

}  // namespace phalanx
