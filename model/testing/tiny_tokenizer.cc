#include "model/testing/tiny_tokenizer.h"

#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "base/log.h"

namespace phalanx {
namespace {

std::string Utf8(int code) {
  if (code < 0x80) return std::string(1, static_cast<char>(code));
  return {static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 0x3f))};
}

std::string Json(absl::string_view text) {
  return absl::StrCat(
      "\"", absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"\"", "\\\""}, {"\n", "\\n"}}), "\"");
}

std::string AddedToken(size_t id, absl::string_view content) {
  return absl::StrCat(R"({"id": )", id, R"(, "content": )", Json(content),
                      R"(, "single_word": false, "lstrip": false, "rstrip": false,)"
                      R"( "normalized": false, "special": true})");
}

}  // namespace

std::vector<std::string> TinyTokens() {
  std::vector<std::string> tokens = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
  const auto printable = [](int code) {
    return (code >= 33 && code <= 126) || (code >= 161 && code <= 255 && code != 173);
  };
  for (int code = 0; code < 256; ++code) {
    if (printable(code)) tokens.push_back(Utf8(code));
  }
  for (int code = 256; code < 256 + 68; ++code) tokens.push_back(Utf8(code));
  for (const auto& [left, right] : TinyMerges()) tokens.push_back(absl::StrCat(left, right));
  CHECK(tokens.size() == kTinyVocab);
  return tokens;
}

std::vector<std::pair<std::string, std::string>> TinyMerges() {
  // Ġ is the space.
  return {{"i", "n"},  {"Ġ", "t"}, {"h", "e"}, {"Ġt", "he"}, {"Ġ", "a"},  {"r", "e"},  {"o", "n"},
          {"in", "g"}, {"l", "l"}, {"l", "o"}, {"he", "ll"}, {"Ġa", "n"}, {"Ġan", "d"}};
}

std::string TinyChatTemplate() {
  return "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + "
         "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ "
         "'<|im_start|>assistant\n' }}{% endif %}";
}

std::map<std::string, std::string> TinyTokenizerFiles() {
  std::vector<std::string> vocab;
  std::vector<std::string> added;
  for (const std::string& token : TinyTokens()) {
    const size_t id = vocab.size();
    if (id < kTinyFirstByte) added.push_back(AddedToken(id, token));
    vocab.push_back(absl::StrCat(Json(token), ": ", id));
  }
  std::vector<std::string> merges;
  for (const auto& [left, right] : TinyMerges()) {
    merges.push_back(absl::StrCat("[", Json(left), ", ", Json(right), "]"));
  }
  const std::string tokenizer = absl::StrCat(
      R"({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [)",
      absl::StrJoin(added, ",\n"), R"(],
  "normalizer": null,
  "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
    {"type": "Digits", "individual_digits": true},
    {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}]},
  "post_processor": null,
  "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true},
  "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
    "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
    "vocab": {)",
      absl::StrJoin(vocab, ", "), R"(}, "merges": [)", absl::StrJoin(merges, ", "), "]}}\n");
  const std::string config = absl::StrCat(
      R"({"tokenizer_class": "GPT2Tokenizer", "bos_token": "<|im_start|>",)",
      R"( "eos_token": "<|im_end|>", "chat_template": )", Json(TinyChatTemplate()), "}\n");
  return {{"tokenizer.json", tokenizer}, {"tokenizer_config.json", config}};
}

}  // namespace phalanx
