#include "model/files/gguf_reader.h"

#include <bit>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace phalanx {

static_assert(std::endian::native == std::endian::little, "GGUF files are read as they lie");

std::string PrintableGgufName(absl::string_view name) {
  return absl::CHexEscape(name.substr(0, 80));
}

absl::Status GgufReader::Broken(absl::string_view what) const {
  return absl::DataLossError(
      absl::StrCat(path_, ": ", context_, ": ", what, " (at byte ", position_, ")"));
}

absl::Status GgufReader::Unsupported(absl::string_view what) const {
  return absl::UnimplementedError(absl::StrCat(path_, ": ", context_, ": ", what));
}

absl::Status GgufReader::ReadString(absl::string_view& value) {
  uint64_t length = 0;
  RETURN_IF_ERROR(Read(length));
  if (length > bytes_left()) {
    return Broken(absl::StrCat("a string of ", length, " bytes, ", bytes_left(), " are left"));
  }
  value = absl::string_view(reinterpret_cast<const char*>(bytes_.data()) + position_, length);
  position_ += length;
  return absl::OkStatus();
}

}  // namespace phalanx
