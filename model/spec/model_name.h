// What clients call a model, from where it lies on disk.
#ifndef PHALANX_MODEL_SPEC_MODEL_NAME_H_
#define PHALANX_MODEL_SPEC_MODEL_NAME_H_

#include <string>

#include "absl/strings/string_view.h"

namespace phalanx {

// Of a GGUF file: its base name without ".gguf", its place in a split and the name of a
// quantization at its end. "/m/SmolLM2-135M-Instruct.Q4_1.gguf" is "SmolLM2-135M-Instruct".
std::string FileModelName(absl::string_view path);

// Of a folder: the last part of its path as it was given, so that a link names what it leads to;
// where that is no name ("", ".", ".."), the last part of the folder's real path. In a Hugging Face
// cache, where folders are named by a hash, the name of the repository:
// "hub/models--microsoft--Phi-4-mini-reasoning/snapshots/0e3b1e2d" is "Phi-4-mini-reasoning", from
// inside of that folder too. Never empty. Reads links, no files.
std::string FolderModelName(const std::string& path);

}  // namespace phalanx

#endif  // PHALANX_MODEL_SPEC_MODEL_NAME_H_
