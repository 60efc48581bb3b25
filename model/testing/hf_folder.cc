#include "model/testing/hf_folder.h"

#include <cstdlib>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/log.h"
#include "model/testing/gguf_writer.h"

namespace phalanx {

void SafetensorsWriter::AddTensor(absl::string_view name, absl::string_view dtype,
                                  absl::Span<const uint64_t> shape, absl::string_view data) {
  absl::StrAppend(&entries_, ",\"", name, "\":{\"dtype\":\"", dtype, "\",\"shape\":[",
                  absl::StrJoin(shape, ","), "],\"data_offsets\":[", data_.size(), ",",
                  data_.size() + data.size(), "]}");
  absl::StrAppend(&data_, data);
}

void SafetensorsWriter::AddF32(absl::string_view name, absl::Span<const uint64_t> shape,
                               absl::Span<const float> values) {
  std::string data;
  for (const float value : values) data += GgufWriter::Bytes(value);
  AddTensor(name, "F32", shape, data);
}

std::string SafetensorsWriter::Finish() const {
  std::string header = absl::StrCat("{", entries_, "}");
  header.resize((header.size() + 7) / 8 * 8, ' ');
  return File(header, data_);
}

std::string SafetensorsWriter::File(absl::string_view header, absl::string_view data) {
  return absl::StrCat(GgufWriter::Bytes<uint64_t>(header.size()), header, data);
}

std::string WriteTempFolder(absl::string_view name,
                            const std::map<std::string, std::string>& files) {
  const char* root = secure_getenv("TEST_TMPDIR");
  std::string folder = absl::StrCat(root == nullptr ? "/tmp" : root, "/", name);
  std::filesystem::remove_all(folder);
  CHECK(std::filesystem::create_directories(folder)) << folder;
  for (const auto& [file, bytes] : files) {
    std::filesystem::create_directories((std::filesystem::path(folder) / file).parent_path());
    WriteTempFile(absl::StrCat(name, "/", file), bytes);
  }
  return folder;
}

}  // namespace phalanx
