// Reads and checks the part of a GGUF file before the tensor data; a detail of GgufFile::Open.
#ifndef PHALANX_MODEL_GGUF_PARSER_H_
#define PHALANX_MODEL_GGUF_PARSER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/gguf.h"

namespace phalanx {

// Fills one GgufFile whose mapping is in place. Use once.
class GgufParser {
 public:
  explicit GgufParser(GgufFile& file) : file_(file), bytes_(file.map_->bytes()) {}

  // The errors of GgufFile::Open.
  absl::Status Parse();

 private:
  using Value = GgufFile::Value;

  absl::Status ParsePair();
  absl::StatusOr<Value> ParseScalar(uint32_t type);
  absl::StatusOr<Value> ParseArray();
  template <typename T, typename Element>
  absl::StatusOr<Value> ParseNumbers(uint64_t count);
  absl::StatusOr<Value> ParseStrings(uint64_t count);
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

  GgufFile& file_;
  const absl::Span<const std::byte> bytes_;
  size_t position_ = 0;
  // What is being read, for messages: "key general.name".
  std::string context_ = "header";
  uint64_t alignment_ = 32;
  // As the infos tell them; parallel to file_.tensors_.
  std::vector<uint64_t> offsets_;
  std::vector<uint64_t> sizes_;
};

}  // namespace phalanx

#endif  // PHALANX_MODEL_GGUF_PARSER_H_
