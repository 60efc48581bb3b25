#include "model/files/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <optional>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "model/files/json.h"

namespace phalanx {
namespace {

static_assert(std::endian::native == std::endian::little, "files are read as they lie");

constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr size_t kMaxNameBytes = 512;
constexpr size_t kMaxDimensions = 8;
// A header is nested no deeper than {name: {shape: [n]}}.
constexpr JsonLimits kHeaderLimits = {.max_depth = 3, .max_values = 4 << 20};

std::string Printable(absl::string_view name) { return absl::CHexEscape(name.substr(0, 80)); }

std::optional<TensorType> TypeOf(absl::string_view dtype) {
  if (dtype == "F32") return TensorType::kF32;
  if (dtype == "F16") return TensorType::kF16;
  if (dtype == "BF16") return TensorType::kBF16;
  return std::nullopt;
}

}  // namespace

// Fills a SafetensorsFile, whose file has been mapped.
class SafetensorsParser {
 public:
  explicit SafetensorsParser(SafetensorsFile& file) : file_(file), bytes_(file.map_->bytes()) {}

  absl::Status Parse();

 private:
  // A tensor and where the header says that its data are.
  struct Entry {
    TensorView tensor;
    uint64_t begin = 0;
    uint64_t end = 0;
  };

  absl::StatusOr<JsonValue> ParseHeader();
  absl::Status ParseMetadata(const JsonValue& metadata);
  absl::Status ParseTensor(const std::string& name, const JsonValue& info);
  absl::Status ParseShape(const JsonValue& shape, TensorView& tensor);
  absl::Status PlaceTensors();

  template <typename... What>
  absl::Status Broken(const What&... what) const {
    return absl::DataLossError(absl::StrCat(file_.path_, ": ", context_, ": ", what...));
  }
  template <typename... What>
  absl::Status Unsupported(const What&... what) const {
    return absl::UnimplementedError(absl::StrCat(file_.path_, ": ", context_, ": ", what...));
  }

  SafetensorsFile& file_;
  const absl::Span<const std::byte> bytes_;
  // What is being read, for messages.
  std::string context_ = "header";
  std::vector<Entry> entries_;
};

absl::StatusOr<JsonValue> SafetensorsParser::ParseHeader() {
  uint64_t size = 0;
  if (bytes_.size() < sizeof(size)) return Broken("the file has ", bytes_.size(), " bytes");
  std::memcpy(&size, bytes_.data(), sizeof(size));
  const uint64_t left = bytes_.size() - sizeof(size);
  if (size > kMaxHeaderBytes || size > left) {
    return Broken(size, " bytes of header, where ", left, " bytes are left and ", kMaxHeaderBytes,
                  " allowed: not a safetensors file, or cut off");
  }
  file_.header_ = bytes_.first(sizeof(size) + size);
  const absl::string_view text = file_.map_->text().substr(sizeof(size), size);
  // The format demands this, so that files of another kind are found out at once.
  if (text.empty() || text[0] != '{') return Broken("does not begin with {");
  return ParseJson(text, absl::StrCat(file_.path_, ": header"), kHeaderLimits);
}

absl::Status SafetensorsParser::ParseMetadata(const JsonValue& metadata) {
  context_ = "header: __metadata__";
  if (!metadata.is_object()) return Broken(metadata.TypeName(), ", where an object is expected");
  for (const JsonMember& member : metadata.members()) {
    if (member.value.AsString() == nullptr) {
      return Broken(Printable(member.key), ": ", member.value.TypeName(),
                    ", where a string is expected");
    }
  }
  // Other frameworks than PyTorch store matrices transposed.
  const JsonValue* format = metadata.Find("format");
  if (format != nullptr && *format->AsString() != "pt") {
    return Unsupported("format ", format->Describe(), " is not supported; \"pt\" is");
  }
  return absl::OkStatus();
}

absl::Status SafetensorsParser::ParseShape(const JsonValue& shape, TensorView& tensor) {
  if (!shape.is_array() || shape.elements().size() > kMaxDimensions) {
    return Broken("shape is not an array of at most ", kMaxDimensions, " numbers");
  }
  // Each dimension fits into int64 if their product, in bytes, fits into the file, which is checked
  // when they are all known. Fewer than two dimensions leave 1 in front.
  uint64_t dimensions[2] = {1, 1};
  uint64_t elements = 1;
  for (size_t i = 0; i < shape.elements().size(); ++i) {
    const std::optional<uint64_t> dimension = shape.elements()[i].AsUnsigned();
    if (!dimension) {
      return Broken("shape has ", shape.elements()[i].Describe(),
                    ", where a number of 0 to 2^64 - 1 is expected");
    }
    if (__builtin_mul_overflow(elements, *dimension, &elements)) {
      return Broken("the product of the shape is 2^64 or more");
    }
    dimensions[0] = dimensions[1];
    dimensions[1] = *dimension;
  }
  if (elements == 0) return Unsupported("a tensor without elements");
  if (elements > bytes_.size()) return Broken(elements, " elements are more than the file");
  if (shape.elements().size() > 2) {
    return Unsupported(shape.elements().size(), " dimensions, where 0 to 2 can be read");
  }
  tensor.rows = static_cast<int64_t>(dimensions[0]);
  tensor.cols = static_cast<int64_t>(dimensions[1]);
  return absl::OkStatus();
}

absl::Status SafetensorsParser::ParseTensor(const std::string& name, const JsonValue& info) {
  context_ = absl::StrCat("tensor ", Printable(name));
  if (name.empty() || name.size() > kMaxNameBytes) {
    return Broken("the name has ", name.size(), " bytes, 1 to ", kMaxNameBytes, " are allowed");
  }
  const JsonValue* const dtype = info.Find("dtype");
  const JsonValue* const shape = info.Find("shape");
  const JsonValue* const offsets = info.Find("data_offsets");
  if (dtype == nullptr || shape == nullptr || offsets == nullptr || info.members().size() != 3) {
    return Broken("not an object of dtype, shape and data_offsets");
  }
  if (dtype->AsString() == nullptr) return Broken("dtype is ", dtype->TypeName());
  const std::optional<TensorType> type = TypeOf(*dtype->AsString());
  if (!type) {
    return Unsupported("dtype ", dtype->Describe(), " cannot be read; F32, F16 and BF16 can");
  }
  Entry entry;
  entry.tensor.name = name;
  entry.tensor.type = *type;
  RETURN_IF_ERROR(ParseShape(*shape, entry.tensor));
  if (offsets->elements().size() != 2 || !offsets->elements()[0].AsUnsigned() ||
      !offsets->elements()[1].AsUnsigned()) {
    return Broken("data_offsets are not two numbers of 0 to 2^64 - 1");
  }
  entry.begin = *offsets->elements()[0].AsUnsigned();
  entry.end = *offsets->elements()[1].AsUnsigned();
  // This cannot overflow: ParseShape has seen that there are no more elements than bytes in the
  // file.
  const uint64_t element_bytes = *type == TensorType::kF32 ? 4 : 2;
  const uint64_t size = element_bytes * entry.tensor.rows * entry.tensor.cols;
  if (entry.end < entry.begin || entry.end - entry.begin != size) {
    return Broken("data_offsets ", entry.begin, " and ", entry.end, ", where dtype and shape take ",
                  size, " bytes");
  }
  entries_.push_back(std::move(entry));
  return absl::OkStatus();
}

absl::Status SafetensorsParser::PlaceTensors() {
  std::sort(entries_.begin(), entries_.end(),
            [](const Entry& a, const Entry& b) { return a.begin < b.begin; });
  const absl::Span<const std::byte> data = bytes_.subspan(file_.header_.size());
  // In the order of their data, where the format allows neither a hole nor an overlap.
  uint64_t end = 0;
  for (Entry& entry : entries_) {
    context_ = absl::StrCat("tensor ", Printable(entry.tensor.name));
    if (entry.begin < end) {
      return Broken("begins at ", entry.begin, ", inside a tensor that ends at ", end);
    }
    if (entry.begin > end) return Broken("a hole of ", entry.begin - end, " bytes before it");
    end = entry.end;
    if (end > data.size()) {
      return Broken("ends at ", end, ", where the data have ", data.size(), " bytes");
    }
    entry.tensor.data = data.subspan(entry.begin, entry.end - entry.begin);
    file_.tensors_.push_back(std::move(entry.tensor));
  }
  context_ = "tensor data";
  if (end != data.size()) {
    return Broken(data.size(), " bytes, of which tensors fill only ", end);
  }
  return absl::OkStatus();
}

absl::Status SafetensorsParser::Parse() {
  ASSIGN_OR_RETURN(const JsonValue header, ParseHeader());
  entries_.reserve(header.members().size());
  for (const JsonMember& member : header.members()) {
    RETURN_IF_ERROR(member.key == "__metadata__" ? ParseMetadata(member.value)
                                                 : ParseTensor(member.key, member.value));
  }
  return PlaceTensors();
}

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Open(const std::string& path) {
  ASSIGN_OR_RETURN(std::unique_ptr<MappedFile> map, MappedFile::Open(path));
  std::unique_ptr<SafetensorsFile> file(new SafetensorsFile(path, std::move(map)));
  RETURN_IF_ERROR(SafetensorsParser(*file).Parse());
  return file;
}

}  // namespace phalanx
