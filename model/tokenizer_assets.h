// The parts of a model file that text processing needs.
#ifndef PHALANX_MODEL_TOKENIZER_ASSETS_H_
#define PHALANX_MODEL_TOKENIZER_ASSETS_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "model/gguf.h"

namespace phalanx {

enum class TokenKind : uint8_t {
  kNormal,       // Part of the BPE vocabulary.
  kControl,      // Steers the model; has no text in an answer: <|im_end|>.
  kUserDefined,  // Added token with text of its own, matched before BPE.
  kUnused,       // Padding of the table.
};

// How text is cut before BPE.
enum class PreTokenizer : uint8_t {
  kSmolLm,  // Every digit on its own, then the GPT-2 pattern.
};

// Owns its data: independent of the file.
struct TokenizerAssets {
  PreTokenizer pre_tokenizer = PreTokenizer::kSmolLm;
  // By id. Bytes of the token as they appear in text: the byte-level alphabet is already undone
  // for normal tokens; the others hold their spelling. Distinct among tokens of one kind. Not every
  // byte need have a token of its own.
  std::vector<std::string> token_bytes;
  std::vector<TokenKind> token_kinds;
  // Pairs of ids in order of rank, the first is merged first; merge k of ids (a, b) makes the token
  // spelled bytes(a) + bytes(b), which exists and is a normal one.
  std::vector<std::pair<int32_t, int32_t>> merges;
  // Union of all ids that end a turn: the file's eos and eot keys and the control tokens spelled
  // <|im_end|>, <|end|>, <|eot_id|> or <|endoftext|>. Ascending.
  std::vector<int32_t> eos_token_ids;
  int32_t bos_token_id = -1;  // -1: none.
  int32_t eos_token_id = -1;  // The one named by the file, for templates.
  bool add_bos = false;
  // Jinja source; empty if the file has none.
  std::string chat_template;
};

// Errors name the file and the key: DATA_LOSS for missing or inconsistent values, UNIMPLEMENTED for
// a tokenizer that is not supported.
absl::StatusOr<TokenizerAssets> ReadTokenizerAssets(const GgufFile& file);

}  // namespace phalanx

#endif  // PHALANX_MODEL_TOKENIZER_ASSETS_H_
