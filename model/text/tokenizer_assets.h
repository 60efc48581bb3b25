// The parts of a model that text processing needs, whatever files they came from.
// tokenizer_assets_gguf.h and tokenizer_assets_hf.h read them.
#ifndef PHALANX_MODEL_TEXT_TOKENIZER_ASSETS_H_
#define PHALANX_MODEL_TEXT_TOKENIZER_ASSETS_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace phalanx {

enum class TokenKind : uint8_t {
  kNormal,       // Part of the BPE vocabulary.
  kControl,      // Steers the model; has no text in an answer: <|im_end|>.
  kUserDefined,  // Added token with text of its own, matched before BPE.
  kUnused,       // Padding of the table.
};

// Text is cut at the matches of a regular expression, in Oniguruma's syntax.
struct SplitRule {
  std::string pattern;
  // Whether what is between matches is a piece too. If not, it is dropped.
  bool keeps_rest = true;
};

// How an added token is found in text.
struct AddedTokenRules {
  bool single_word = false;  // Not next to a letter, digit, mark or underscore.
  bool lstrip = false;       // Takes the white space before it.
  bool rstrip = false;       // Takes the white space after it.
  bool normalized = false;   // Looked for in normalized text.
};

// Owns its data: independent of the file.
struct TokenizerAssets {
  // Each rule cuts the pieces of the rule before it. No merge goes across a cut.
  std::vector<SplitRule> split_rules;
  // Whether text is put into normal form NFC before it is cut.
  bool normalizes_to_nfc = false;
  // Whether a piece that is a token becomes that token, whatever merges would make of it.
  bool ignore_merges = false;
  // By id: the bytes of the token as they appear in text. Of normal tokens the byte-level alphabet
  // has been undone; the others hold their spelling. Tokens of one kind have different bytes. There
  // may be bytes without a token of their own.
  std::vector<std::string> token_bytes;
  std::vector<TokenKind> token_kinds;
  // By id, for control and user-defined tokens. Those without an entry have no rules.
  absl::flat_hash_map<int32_t, AddedTokenRules> added_token_rules;
  // Pairs of ids in order of rank: the first is merged first. A merge of ids (a, b) makes the token
  // spelled bytes(a) + bytes(b), which exists and is a normal one.
  std::vector<std::pair<int32_t, int32_t>> merges;
  // All ids that end a turn: those that the files name, and the tokens whose spelling says so (see
  // turn_ends.h). Ascending.
  std::vector<int32_t> eos_token_ids;
  // Control tokens that the files store as another kind, see PromoteToControl.
  std::vector<int32_t> promoted_token_ids = {};
  int32_t bos_token_id = -1;  // -1 if there is none.
  int32_t eos_token_id = -1;  // The one that the file names, for templates.
  bool add_bos = false;       // Whether text that is not a chat begins with bos.
  // Spellings of tokens by the name under which templates know them: bos_token, pad_token, and
  // names that the model gives to tokens of its own.
  std::map<std::string, std::string> template_tokens;
  // Jinja source; empty if the file has none.
  std::string chat_template;
  // Templates that the model has beside chat_template, by name: "tool_use", "rag".
  std::map<std::string, std::string> named_chat_templates;
};

}  // namespace phalanx

#endif  // PHALANX_MODEL_TEXT_TOKENIZER_ASSETS_H_
