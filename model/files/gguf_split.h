// Opens the files of a GGUF model: one, or the parts that llama.cpp's gguf-split makes.
#ifndef PHALANX_MODEL_FILES_GGUF_SPLIT_H_
#define PHALANX_MODEL_FILES_GGUF_SPLIT_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/files/gguf.h"

namespace phalanx {

// Opens the file at `path` and, if it is the first of several ("NAME-00001-of-00003.gguf"), all
// others beside it, in order. The metadata are in the first. Besides the errors of GgufFile::Open:
// INVALID_ARGUMENT if `path` is another part than the first, with the name of the first; DATA_LOSS,
// naming the part, if one belongs to another split or there are not as many tensors as the first
// part says.
absl::StatusOr<std::vector<std::unique_ptr<GgufFile>>> OpenGgufFiles(const std::string& path);

}  // namespace phalanx

#endif  // PHALANX_MODEL_FILES_GGUF_SPLIT_H_
