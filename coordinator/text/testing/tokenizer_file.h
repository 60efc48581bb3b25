// Reads tokenizers by the path of a file, for tests and benchmarks.
#ifndef PHALANX_COORDINATOR_TEXT_TESTING_TOKENIZER_FILE_H_
#define PHALANX_COORDINATOR_TEXT_TESTING_TOKENIZER_FILE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "model/files/gguf.h"
#include "model/text/tokenizer_assets.h"
#include "model/text/tokenizer_assets_gguf.h"
#include "model/text/tokenizer_assets_hf.h"

namespace phalanx {

// Reads a GGUF file, or the Hugging Face folder that a tokenizer.json is in.
inline absl::StatusOr<TokenizerAssets> ReadTokenizerFile(const std::string& path) {
  constexpr int kVocab = 1 << 18;
  if (absl::EndsWith(path, "/tokenizer.json")) {
    return ReadTokenizerAssets(path.substr(0, path.rfind('/')), kVocab);
  }
  auto file = GgufFile::Open(path);
  if (!file.ok()) return file.status();
  return ReadTokenizerAssets(**file);
}

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_TESTING_TOKENIZER_FILE_H_
