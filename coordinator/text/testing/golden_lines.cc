#include "coordinator/text/testing/golden_lines.h"

#include <utf8proc.h>
#include <zlib.h>

#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "coordinator/text/tokenizer/unicode.h"

namespace phalanx {
namespace {

constexpr size_t kLongBytes = 1 << 20;

constexpr absl::string_view kLongRuns[] = {"a",  "A",  " ", "\n",     "7",      "=", "/",
                                           "é",  "字", "ก", "\u0301", "\u3000", "😀", "👩\u200d🚀",
                                           "ab", "a ", "<", "'s",     "\r\n"};

constexpr absl::string_view kLongMixes[] = {
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", "0123456789", "aaaaab \n",
    "aé字ก\u0301\u0327 ", "eE's \t\n.7/"};

// The linear congruential generator of Knuth's MMIX, which tokenizer_corpus.py has too.
class Lcg {
 public:
  size_t Below(size_t bound) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<size_t>(state_ >> 33) % bound;
  }

 private:
  uint64_t state_ = 1;
};

std::vector<std::string> SplitCharacters(absl::string_view text) {
  std::vector<std::string> characters;
  while (!text.empty()) {
    const size_t bytes = FirstUtf8(text).bytes;
    characters.emplace_back(text.substr(0, bytes));
    text.remove_prefix(bytes);
  }
  return characters;
}

void ForEachLongLine(absl::FunctionRef<void(absl::string_view)> line) {
  for (const absl::string_view piece : kLongRuns) {
    std::string text;
    for (size_t left = kLongBytes / piece.size(); left > 0; --left) absl::StrAppend(&text, piece);
    line(text);
  }
  for (const absl::string_view characters : kLongMixes) {
    const std::vector<std::string> choices = SplitCharacters(characters);
    Lcg lcg;
    std::string text;
    while (text.size() < kLongBytes) text += choices[lcg.Below(choices.size())];
    line(text);
  }
}

// Each character of a block next to letters, a digit, punctuation, white space and itself, where
// splitting rules may treat it differently.
std::string CharacterLine(int32_t block) {
  std::string text;
  for (int32_t codepoint = block; codepoint < block + 256; ++codepoint) {
    uint8_t bytes[4];
    const auto size = static_cast<size_t>(utf8proc_encode_char(codepoint, bytes));
    const absl::string_view c(reinterpret_cast<const char*>(bytes), size);
    absl::StrAppend(&text, c, "a", c, "B", c, "c ");
    absl::StrAppend(&text, c, "1", c, "!", c, " ", c, c);
    text.push_back('\n');
  }
  return text;
}

}  // namespace

std::vector<std::string> ReadGzipLines(const std::string& path) {
  const gzFile file = gzopen(path.c_str(), "rb");
  if (file == nullptr) {
    std::fprintf(stderr, "no file %s\n", path.c_str());
    std::abort();
  }
  std::string text;
  std::vector<char> buffer(1 << 16);
  for (int bytes;
       (bytes = gzread(file, buffer.data(), static_cast<unsigned>(buffer.size()))) > 0;) {
    text.append(buffer.data(), static_cast<size_t>(bytes));
  }
  gzclose(file);
  std::vector<std::string> lines = absl::StrSplit(text, '\n');
  lines.pop_back();
  return lines;
}

std::string WordHash::ToString() const { return absl::StrFormat("%016x", hash_); }

std::string DescribeIds(absl::Span<const int32_t> ids) {
  WordHash hash;
  for (const int32_t id : ids) hash.Add(static_cast<uint32_t>(id));
  return absl::StrCat(ids.size(), " ", hash.ToString());
}

void ForEachRuleLine(absl::FunctionRef<void(absl::string_view)> line) {
  ForEachLongLine(line);
  // 0xd800 to 0xdfff are surrogates, which UTF-8 cannot encode.
  for (int32_t block = 0; block < 0xd800; block += 256) line(CharacterLine(block));
  for (int32_t block = 0xe000; block < 0x20000; block += 256) line(CharacterLine(block));
  for (int32_t block = 0x20000; block < 0x110000; block += 4096) line(CharacterLine(block));
}

}  // namespace phalanx
