// Reads the bytes of a GGUF file one after the other; a detail of GgufFile.
#ifndef PHALANX_MODEL_FILES_GGUF_READER_H_
#define PHALANX_MODEL_FILES_GGUF_READER_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace phalanx {

// A name for a message. It comes from the file, so it may contain anything.
std::string PrintableGgufName(absl::string_view name);

// A position in the bytes of a file, and what is being read there, for messages. For one thread.
class GgufReader {
 public:
  // Both must outlive the reader. `path` names the file in errors.
  GgufReader(absl::Span<const std::byte> bytes, const std::string& path)
      : path_(path), bytes_(bytes) {}

  // Of the number at this position, little-endian; the position moves behind it. DATA_LOSS if the
  // file ends before that.
  template <typename T>
  absl::Status Read(T& value);
  // A length of 8 bytes and as many bytes, to which `value` then points. DATA_LOSS as above.
  absl::Status ReadString(absl::string_view& value);

  // What is read from here on: "key general.name".
  void set_context(std::string context) { context_ = std::move(context); }
  // DATA_LOSS, with the path, what is being read and the position.
  absl::Status Broken(absl::string_view what) const;
  // UNIMPLEMENTED, with the path and what is being read.
  absl::Status Unsupported(absl::string_view what) const;

  absl::Span<const std::byte> bytes() const { return bytes_; }
  size_t position() const { return position_; }
  size_t bytes_left() const { return bytes_.size() - position_; }

 private:
  const std::string& path_;
  const absl::Span<const std::byte> bytes_;
  size_t position_ = 0;
  std::string context_ = "header";
};

template <typename T>
absl::Status GgufReader::Read(T& value) {
  if (bytes_left() < sizeof(T)) return Broken("the file ends here: it is truncated or damaged");
  std::memcpy(&value, bytes_.data() + position_, sizeof(T));
  position_ += sizeof(T);
  return absl::OkStatus();
}

}  // namespace phalanx

#endif  // PHALANX_MODEL_FILES_GGUF_READER_H_
