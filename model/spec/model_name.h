// Tells what clients call a model, by where it lies on disk.
#ifndef PHALANX_MODEL_SPEC_MODEL_NAME_H_
#define PHALANX_MODEL_SPEC_MODEL_NAME_H_

#include <string>

#include "absl/strings/string_view.h"

namespace phalanx {

// The name of a GGUF file: its base name without ".gguf", without its place in a split, and without
// the name of a quantization at its end. "/m/SmolLM2-135M-Instruct.Q4_1.gguf" is
// "SmolLM2-135M-Instruct".
std::string FileModelName(absl::string_view path);

// The name of a folder: the last part of its path as it was given, so that a link has its own name.
// Where that is no name ("", ".", ".."), it is the last part of the folder's real path. In a
// Hugging Face cache, where folders are named by a hash, it is the name of the repository:
// "hub/models--microsoft--Phi-4-mini-reasoning/snapshots/0e3b1e2d" is "Phi-4-mini-reasoning", and
// so are "." and "" inside of that folder. Never empty. Reads links, but no files.
std::string FolderModelName(const std::string& path);

}  // namespace phalanx

#endif  // PHALANX_MODEL_SPEC_MODEL_NAME_H_
