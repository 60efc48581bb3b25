#include "model/testing/gguf_writer.h"

#include <cstdlib>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "base/log.h"

namespace phalanx {
namespace {

void PadTo(uint64_t alignment, std::string& bytes) {
  bytes.resize((bytes.size() + alignment - 1) / alignment * alignment);
}

}  // namespace

std::string GgufWriter::String(absl::string_view text) {
  return absl::StrCat(Bytes<uint64_t>(text.size()), text);
}

void GgufWriter::AddPair(absl::string_view key, uint32_t type, absl::string_view value) {
  ++num_pairs_;
  absl::StrAppend(&pairs_, String(key), Bytes(type), value);
}

void GgufWriter::AddStrings(absl::string_view key, absl::Span<const std::string> values) {
  std::string bytes = absl::StrCat(Bytes<uint32_t>(8), Bytes<uint64_t>(values.size()));
  for (const std::string& value : values) absl::StrAppend(&bytes, String(value));
  AddPair(key, 9, bytes);
}

void GgufWriter::AddI32s(absl::string_view key, absl::Span<const int32_t> values) {
  std::string bytes = absl::StrCat(Bytes<uint32_t>(5), Bytes<uint64_t>(values.size()));
  for (const int32_t value : values) absl::StrAppend(&bytes, Bytes(value));
  AddPair(key, 9, bytes);
}

void GgufWriter::AddTensorInfo(absl::string_view name, uint32_t type,
                               absl::Span<const uint64_t> dimensions, uint64_t offset) {
  ++num_tensors_;
  absl::StrAppend(&infos_, String(name), Bytes(static_cast<uint32_t>(dimensions.size())));
  for (const uint64_t dimension : dimensions) absl::StrAppend(&infos_, Bytes(dimension));
  absl::StrAppend(&infos_, Bytes(type), Bytes(offset));
}

void GgufWriter::AddTensor(absl::string_view name, TensorType type,
                           absl::Span<const uint64_t> dimensions, absl::string_view data) {
  PadTo(alignment, data_);
  AddTensorInfo(name, static_cast<uint32_t>(type), dimensions, data_.size());
  absl::StrAppend(&data_, data);
}

std::string GgufWriter::Finish() const {
  std::string bytes =
      absl::StrCat("GGUF", Bytes(version), Bytes(num_tensors_), Bytes(num_pairs_), pairs_, infos_);
  if (!data_.empty()) PadTo(alignment, bytes);
  return absl::StrCat(bytes, data_);
}

std::string GgufWriter::WriteToTemp(absl::string_view name) const {
  return WriteTempFile(name, Finish());
}

std::string WriteTempFile(absl::string_view name, absl::string_view bytes) {
  const char* folder = secure_getenv("TEST_TMPDIR");
  std::string path = absl::StrCat(folder == nullptr ? "/tmp" : folder, "/", name);
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  CHECK(file.good()) << "cannot write " << path;
  return path;
}

}  // namespace phalanx
