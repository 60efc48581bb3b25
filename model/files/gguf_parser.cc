#include "model/files/gguf_parser.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <numeric>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace phalanx {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF files are read as they lie");

constexpr size_t kMaxKeyBytes = 65535;
constexpr size_t kMaxTensorNameBytes = 64;
constexpr uint32_t kMaxDimensions = 4;
constexpr int64_t kMaxAlignment = 1 << 20;
// The least bytes that a pair and a tensor info can take: with names of one byte, a value of one
// byte and one dimension.
constexpr size_t kMinPairBytes = 8 + 1 + 4 + 1;
constexpr size_t kMinInfoBytes = 8 + 1 + 4 + 8 + 4 + 8;

enum ValueType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

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

// A name for a message. It comes from the file, so it may contain anything.
std::string Printable(absl::string_view name) { return absl::CHexEscape(name.substr(0, 80)); }

// An object parses one file.
class GgufParser {
 public:
  GgufParser(absl::Span<const std::byte> bytes, const std::string& path)
      : path_(path), bytes_(bytes) {}

  absl::StatusOr<GgufContents> Parse();

 private:
  absl::Status ParsePair();
  absl::StatusOr<GgufValue> ParseScalar(uint32_t type);
  absl::StatusOr<GgufValue> ParseArray();
  template <typename T, typename Element>
  absl::StatusOr<GgufValue> ParseNumbers(uint64_t count);
  absl::StatusOr<GgufValue> ParseStrings(uint64_t count);
  absl::Status ReadAlignment();
  absl::Status ParseTensorInfo();
  absl::Status PlaceTensors();

  template <typename T>
  absl::Status Read(T& value);
  absl::Status ReadString(absl::string_view& value);
  size_t bytes_left() const { return bytes_.size() - position_; }
  // DATA_LOSS, with the path, what is being read and the position.
  absl::Status Broken(absl::string_view what) const;
  absl::Status Unsupported(absl::string_view what) const;

  const std::string& path_;
  const absl::Span<const std::byte> bytes_;
  GgufContents contents_;
  size_t position_ = 0;
  // What is being read, for messages: "key general.name".
  std::string context_ = "header";
  // What the format says if the key general.alignment is not there.
  uint64_t alignment_ = 32;
  // Where the infos say that the data of each tensor of contents_.tensors begin, counted from the
  // beginning of all data, and how many bytes they are.
  std::vector<uint64_t> offsets_;
  std::vector<uint64_t> sizes_;
};

absl::Status GgufParser::Broken(absl::string_view what) const {
  return absl::DataLossError(
      absl::StrCat(path_, ": ", context_, ": ", what, " (at byte ", position_, ")"));
}

absl::Status GgufParser::Unsupported(absl::string_view what) const {
  return absl::UnimplementedError(absl::StrCat(path_, ": ", context_, ": ", what));
}

template <typename T>
absl::Status GgufParser::Read(T& value) {
  if (bytes_left() < sizeof(T)) return Broken("the file ends here: it is truncated or damaged");
  std::memcpy(&value, bytes_.data() + position_, sizeof(T));
  position_ += sizeof(T);
  return absl::OkStatus();
}

absl::Status GgufParser::ReadString(absl::string_view& value) {
  uint64_t length = 0;
  RETURN_IF_ERROR(Read(length));
  if (length > bytes_left()) {
    return Broken(absl::StrCat("a string of ", length, " bytes, ", bytes_left(), " are left"));
  }
  value = absl::string_view(reinterpret_cast<const char*>(bytes_.data()) + position_, length);
  position_ += length;
  return absl::OkStatus();
}

absl::StatusOr<GgufContents> GgufParser::Parse() {
  char magic[4];
  const bool has_magic = Read(magic).ok() && std::memcmp(magic, "GGUF", sizeof(magic)) == 0;
  if (!has_magic) return Broken("not a GGUF file");
  uint32_t version = 0;
  RETURN_IF_ERROR(Read(version));
  if (version != 2 && version != 3) {
    return Broken(absl::StrCat("version ", version, ", where 2 or 3 can be read"));
  }
  uint64_t num_tensors = 0;
  uint64_t num_pairs = 0;
  RETURN_IF_ERROR(Read(num_tensors));
  RETURN_IF_ERROR(Read(num_pairs));
  // So a few bytes cannot announce more than the file can hold, and make us allocate for it.
  if (num_pairs > bytes_left() / kMinPairBytes || num_tensors > bytes_left() / kMinInfoBytes) {
    return Broken(absl::StrCat("announces ", num_pairs, " keys and ", num_tensors,
                               " tensors, but only ", bytes_left(),
                               " bytes follow: the file is truncated or damaged"));
  }
  for (uint64_t i = 0; i < num_pairs; ++i) {
    context_ = absl::StrCat("key number ", i);
    RETURN_IF_ERROR(ParsePair());
  }
  RETURN_IF_ERROR(ReadAlignment());
  contents_.tensors.reserve(num_tensors);
  for (uint64_t i = 0; i < num_tensors; ++i) {
    context_ = absl::StrCat("tensor number ", i);
    RETURN_IF_ERROR(ParseTensorInfo());
  }
  RETURN_IF_ERROR(PlaceTensors());
  return std::move(contents_);
}

absl::Status GgufParser::ParsePair() {
  absl::string_view key;
  RETURN_IF_ERROR(ReadString(key));
  if (key.empty() || key.size() > kMaxKeyBytes) return Broken("the key is empty or too long");
  context_ = absl::StrCat("key ", Printable(key));
  // Readers could disagree about which of the two counts.
  if (contents_.metadata.contains(key)) return Broken("the key is there twice");
  uint32_t type = 0;
  RETURN_IF_ERROR(Read(type));
  ASSIGN_OR_RETURN(GgufValue value, type == kArray ? ParseArray() : ParseScalar(type));
  contents_.metadata.emplace(key, std::move(value));
  return absl::OkStatus();
}

absl::StatusOr<GgufValue> GgufParser::ParseScalar(uint32_t type) {
  const auto integer = [this](auto number) -> absl::StatusOr<GgufValue> {
    RETURN_IF_ERROR(Read(number));
    if (std::in_range<int64_t>(number)) return GgufValue(static_cast<int64_t>(number));
    return GgufValue(static_cast<uint64_t>(number));
  };
  const auto real = [this](auto number) -> absl::StatusOr<GgufValue> {
    RETURN_IF_ERROR(Read(number));
    return GgufValue(static_cast<double>(number));
  };
  switch (type) {
    case kU8:
      return integer(uint8_t{});
    case kI8:
      return integer(int8_t{});
    case kU16:
      return integer(uint16_t{});
    case kI16:
      return integer(int16_t{});
    case kU32:
      return integer(uint32_t{});
    case kI32:
      return integer(int32_t{});
    case kU64:
      return integer(uint64_t{});
    case kI64:
      return integer(int64_t{});
    case kF32:
      return real(float{});
    case kF64:
      return real(double{});
    case kBool: {
      uint8_t flag = 0;
      RETURN_IF_ERROR(Read(flag));
      if (flag > 1) return Broken(absl::StrCat("a bool of value ", flag));
      return GgufValue(flag == 1);
    }
    case kString: {
      absl::string_view text;
      RETURN_IF_ERROR(ReadString(text));
      return GgufValue(text);
    }
    default:
      return Broken(absl::StrCat("value of unknown type ", type));
  }
}

absl::StatusOr<GgufValue> GgufParser::ParseArray() {
  uint32_t type = 0;
  uint64_t count = 0;
  RETURN_IF_ERROR(Read(type));
  RETURN_IF_ERROR(Read(count));
  switch (type) {
    case kU8:
      return ParseNumbers<uint8_t, int64_t>(count);
    case kI8:
      return ParseNumbers<int8_t, int64_t>(count);
    case kU16:
      return ParseNumbers<uint16_t, int64_t>(count);
    case kI16:
      return ParseNumbers<int16_t, int64_t>(count);
    case kU32:
      return ParseNumbers<uint32_t, int64_t>(count);
    case kI32:
      return ParseNumbers<int32_t, int64_t>(count);
    case kU64:
      return ParseNumbers<uint64_t, int64_t>(count);
    case kI64:
      return ParseNumbers<int64_t, int64_t>(count);
    case kF32:
      return ParseNumbers<float, double>(count);
    case kF64:
      return ParseNumbers<double, double>(count);
    case kBool: {
      ASSIGN_OR_RETURN(GgufValue flags, ParseNumbers<uint8_t, int64_t>(count));
      for (int64_t flag : std::get<std::vector<int64_t>>(flags)) {
        if (flag > 1) return Broken(absl::StrCat("a bool of value ", flag));
      }
      return flags;
    }
    case kString:
      return ParseStrings(count);
    case kArray:
      return Unsupported("an array of arrays");
    default:
      return Broken(absl::StrCat("array of unknown type ", type));
  }
}

template <typename T, typename Element>
absl::StatusOr<GgufValue> GgufParser::ParseNumbers(uint64_t count) {
  if (count > bytes_left() / sizeof(T)) {
    return Broken(
        absl::StrCat("an array of ", count, " values, ", bytes_left(), " bytes are left"));
  }
  std::vector<Element> values(count);
  for (Element& value : values) {
    T number{};
    RETURN_IF_ERROR(Read(number));
    if constexpr (std::is_integral_v<T>) {
      if (!std::in_range<int64_t>(number)) return Broken("an array element of 2^63 or more");
    }
    // The plus makes an int of a uint8_t or int8_t, which here are numbers and not characters.
    value = static_cast<Element>(+number);
  }
  return GgufValue(std::move(values));
}

absl::StatusOr<GgufValue> GgufParser::ParseStrings(uint64_t count) {
  if (count > bytes_left() / sizeof(uint64_t)) {
    return Broken(
        absl::StrCat("an array of ", count, " strings, ", bytes_left(), " bytes are left"));
  }
  // Each string takes at least the 8 bytes of its length, so `count` is bounded by the file.
  std::vector<absl::string_view> values(count);
  for (absl::string_view& value : values) RETURN_IF_ERROR(ReadString(value));
  return GgufValue(std::move(values));
}

absl::Status GgufParser::ReadAlignment() {
  context_ = "key general.alignment";
  const auto value = contents_.metadata.find("general.alignment");
  if (value == contents_.metadata.end()) return absl::OkStatus();
  const int64_t* const stored = std::get_if<int64_t>(&value->second);
  if (stored == nullptr) return Broken("not an integer below 2^63");
  const int64_t alignment = *stored;
  if (alignment < 8 || alignment % 8 != 0 || alignment > kMaxAlignment) {
    return Broken(absl::StrCat("an alignment of ", alignment, " is not a multiple of 8 from 8 to ",
                               kMaxAlignment));
  }
  alignment_ = static_cast<uint64_t>(alignment);
  return absl::OkStatus();
}

absl::Status GgufParser::ParseTensorInfo() {
  absl::string_view name;
  RETURN_IF_ERROR(ReadString(name));
  if (name.empty() || name.size() > kMaxTensorNameBytes) {
    return Broken(absl::StrCat("the name has ", name.size(), " bytes, 1 to ", kMaxTensorNameBytes,
                               " are allowed"));
  }
  context_ = absl::StrCat("tensor ", Printable(name));
  const int index = static_cast<int>(contents_.tensors.size());
  if (!contents_.tensor_index.emplace(name, index).second)
    return Broken("the tensor is there twice");

  uint32_t num_dimensions = 0;
  RETURN_IF_ERROR(Read(num_dimensions));
  if (num_dimensions < 1 || num_dimensions > kMaxDimensions) {
    return Broken(absl::StrCat(num_dimensions, " dimensions"));
  }
  if (num_dimensions > 2) {
    return Unsupported(absl::StrCat(num_dimensions, " dimensions, where 1 or 2 can be read"));
  }
  uint64_t dimensions[2] = {1, 1};
  for (uint32_t i = 0; i < num_dimensions; ++i) RETURN_IF_ERROR(Read(dimensions[i]));
  uint32_t type = 0;
  uint64_t offset = 0;
  RETURN_IF_ERROR(Read(type));
  RETURN_IF_ERROR(Read(offset));

  // GGUF lists the fastest dimension first.
  const auto [cols, rows] = dimensions;
  if (cols == 0 || rows == 0) return Broken("a dimension of zero");
  const std::optional<Block> block = BlockOf(type);
  if (!block) return Unsupported(absl::StrCat("elements of type ", type));
  if (cols % block->elements != 0) {
    return Broken(absl::StrCat("rows of ", cols, " elements in blocks of ", block->elements));
  }
  uint64_t size = 0;
  if (__builtin_mul_overflow(cols / block->elements, block->bytes, &size) ||
      __builtin_mul_overflow(size, rows, &size) || size > bytes_.size()) {
    return Broken(absl::StrCat(rows, " rows of ", cols, " elements are more than the file"));
  }
  if (offset % alignment_ != 0) {
    return Broken(absl::StrCat("offset ", offset, " is not a multiple of ", alignment_));
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
  const uint64_t data_start = (position_ + alignment_ - 1) / alignment_ * alignment_;
  if (data_start > bytes_.size() && !contents_.tensors.empty()) {
    context_ = "tensor data";
    return Broken("the file ends here: it is truncated or damaged");
  }
  contents_.header =
      absl::MakeConstSpan(bytes_.data(), std::min<uint64_t>(data_start, bytes_.size()));
  const uint64_t data_bytes = bytes_.size() - contents_.header.size();

  std::vector<size_t> order(contents_.tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(),
            [this](size_t a, size_t b) { return offsets_[a] < offsets_[b]; });
  // In the order of their data, so that an overlap shows between neighbours. Holes are allowed,
  // since each tensor is aligned.
  uint64_t end = 0;
  for (const size_t i : order) {
    TensorView& tensor = contents_.tensors[i];
    context_ = absl::StrCat("tensor ", Printable(tensor.name));
    if (offsets_[i] > data_bytes || sizes_[i] > data_bytes - offsets_[i]) {
      return Broken(absl::StrCat("offset ", offsets_[i], " and size ", sizes_[i],
                                 " go past the end of the data, which has ", data_bytes,
                                 " bytes: the file is truncated or damaged"));
    }
    if (offsets_[i] < end) return Broken("the tensor overlaps another");
    end = offsets_[i] + sizes_[i];
    tensor.data = absl::MakeConstSpan(bytes_.data() + data_start + offsets_[i], sizes_[i]);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GgufContents> ParseGguf(absl::Span<const std::byte> bytes, const std::string& path) {
  return GgufParser(bytes, path).Parse();
}

}  // namespace phalanx
