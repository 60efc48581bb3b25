// Writes tiny test models: for tests that need a model, not its answers.
#include <fstream>
#include <iostream>
#include <map>
#include <string>

#include "absl/strings/string_view.h"
#include "model/testing/tiny_hf_model.h"
#include "model/testing/tiny_model.h"

namespace {

// Room for answers that are still going on when a test breaks something.
constexpr int kContextTokens = 16384;

bool Write(const std::string& path, absl::string_view bytes) {
  std::ofstream file(path, std::ios::binary);
  file << bytes;
  file.close();
  return !file.fail();
}

bool WriteGguf(const std::string& path, phalanx::TinyModelOptions options = {}) {
  options.context_tokens = kContextTokens;
  return Write(path, phalanx::TinyModel(options).Finish());
}

// A prompt with a Z in it gets logits that are NaN; others do not notice.
bool WriteBrokenGguf(const std::string& path) {
  return WriteGguf(path, {.embedding_type = phalanx::TensorType::kF32,
                          .untied_output = true,
                          .broken_token = phalanx::kTinyFirstByte + 'Z' - '!'});
}

bool WriteFolder(const std::string& path, const phalanx::TinyHfOptions& options) {
  bool good = true;
  for (const auto& [name, bytes] : phalanx::TinyHfModel(options)) {
    good = Write(path + "/" + name, bytes) && good;
  }
  return good;
}

// With LongRoPE beyond 64 tokens.
phalanx::TinyHfOptions Phi3() {
  return {.architecture = "phi3", .context_tokens = kContextTokens, .original_context_tokens = 64};
}

// For up to eight ranks: so many KV heads, and nine blocks of columns in the feed-forward.
phalanx::TinyHfOptions OfEightHeads(const std::string& architecture) {
  return {.architecture = architecture,
          .hidden = 128,
          .num_q_heads = 16,
          .num_kv_heads = 8,
          .head_dim = 16,
          .ffn = 288,
          .context_tokens = kContextTokens};
}

}  // namespace

int main(int argc, char** argv) {
  const absl::string_view kind = argc == 3 ? argv[1] : "";
  if (kind == "gguf") return WriteGguf(argv[2]) ? 0 : 1;
  if (kind == "broken_gguf") return WriteBrokenGguf(argv[2]) ? 0 : 1;
  if (kind == "folder") return WriteFolder(argv[2], Phi3()) ? 0 : 1;
  if (kind == "phi3_of_8_heads") return WriteFolder(argv[2], OfEightHeads("phi3")) ? 0 : 1;
  if (kind == "qwen2_of_8_heads") return WriteFolder(argv[2], OfEightHeads("qwen2")) ? 0 : 1;
  std::cerr << "usage: write_tiny_model gguf PATH | broken_gguf PATH | folder EXISTING_FOLDER | "
               "phi3_of_8_heads EXISTING_FOLDER | qwen2_of_8_heads EXISTING_FOLDER\n";
  return 2;
}
