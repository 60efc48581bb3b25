// Reads and checks the part of a GGUF file before the tensor data; a detail of GgufFile.
#ifndef PHALANX_MODEL_FILES_GGUF_PARSER_H_
#define PHALANX_MODEL_FILES_GGUF_PARSER_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/files/gguf_value.h"
#include "model/files/tensor.h"

namespace phalanx {

// What a file holds. Views point into the parsed bytes.
struct GgufContents {
  // The bytes before the tensor data: the header, metadata and tensor infos.
  absl::Span<const std::byte> header;
  absl::flat_hash_map<absl::string_view, GgufValue> metadata;
  // In file order.
  std::vector<TensorView> tensors;
  // The index in `tensors`, by name.
  absl::flat_hash_map<absl::string_view, int> tensor_index;
};

// Parses the whole file, `bytes`. `path` names it in errors, which are those that GgufFile::Open
// gives for the contents of a file.
absl::StatusOr<GgufContents> ParseGguf(absl::Span<const std::byte> bytes, const std::string& path);

}  // namespace phalanx

#endif  // PHALANX_MODEL_FILES_GGUF_PARSER_H_
