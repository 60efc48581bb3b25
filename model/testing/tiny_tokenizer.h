// The tokenizer of the tiny models: one vocabulary, in a GGUF file and as Hugging Face files.
#ifndef PHALANX_MODEL_TESTING_TINY_TOKENIZER_H_
#define PHALANX_MODEL_TESTING_TINY_TOKENIZER_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace phalanx {

// 272 tokens: 0 <|endoftext|>, 1 <|im_start|>, 2 <|im_end|> (eos), then the 256 bytes in the order
// of the byte-level alphabet (kTinyFirstByte + 0 is "!"), then tokens made by 13 merges: "in",
// " t", "he", " the", ...; the pre-tokenizer is SmolLM's and the chat template is ChatML.
inline constexpr int kTinyVocab = 272;
inline constexpr int kTinyFirstByte = 3;

// In the byte-level alphabet, by id.
std::vector<std::string> TinyTokens();
std::vector<std::pair<std::string, std::string>> TinyMerges();
std::string TinyChatTemplate();

// tokenizer.json and tokenizer_config.json, by name.
std::map<std::string, std::string> TinyTokenizerFiles();

}  // namespace phalanx

#endif  // PHALANX_MODEL_TESTING_TINY_TOKENIZER_H_
