#include "coordinator/text/pre_tokenizer.h"

#include <cstddef>

#include "absl/strings/match.h"
#include "coordinator/text/unicode.h"

namespace phalanx {
namespace {

// Bytes of the run of characters of one class that begins at `begin`.
size_t RunEnd(absl::string_view text, size_t begin, CharClass char_class) {
  size_t end = begin;
  while (end < text.size()) {
    const Char next = FirstChar(text.substr(end));
    if (next.char_class != char_class) break;
    end += next.bytes;
  }
  return end;
}

size_t ContractionLength(absl::string_view text) {
  for (const absl::string_view contraction : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}) {
    if (absl::StartsWith(text, contraction)) return contraction.size();
  }
  return 0;
}

// A run of white space gives its last character to what follows it.
size_t SpaceLength(absl::string_view text) {
  size_t end = 0;
  size_t last = 0;
  while (end < text.size()) {
    const Char next = FirstChar(text.substr(end));
    if (next.char_class != CharClass::kSpace) break;
    last = end;
    end += next.bytes;
  }
  return end == text.size() || last == 0 ? end : last;
}

// Length of the first match of GPT-2's pattern in a text without numbers.
size_t Gpt2Length(absl::string_view text) {
  if (const size_t length = ContractionLength(text); length > 0) return length;
  const size_t begin = text[0] == ' ' && text.size() > 1 ? 1 : 0;
  const CharClass char_class = FirstChar(text.substr(begin)).char_class;
  if (char_class != CharClass::kSpace) return RunEnd(text, begin, char_class);
  return SpaceLength(text);
}

void SplitGpt2(absl::string_view text, const std::function<void(absl::string_view)>& piece) {
  while (!text.empty()) {
    const size_t length = Gpt2Length(text);
    piece(text.substr(0, length));
    text.remove_prefix(length);
  }
}

}  // namespace

void PreTokenize(PreTokenizer kind, absl::string_view text,
                 const std::function<void(absl::string_view)>& piece) {
  switch (kind) {
    case PreTokenizer::kSmolLm: {
      size_t begin = 0;
      for (size_t at = 0; at < text.size();) {
        const Char next = FirstChar(text.substr(at));
        if (next.char_class == CharClass::kNumber) {
          SplitGpt2(text.substr(begin, at - begin), piece);
          piece(text.substr(at, next.bytes));
          begin = at + next.bytes;
        }
        at += next.bytes;
      }
      SplitGpt2(text.substr(begin), piece);
      return;
    }
  }
}

}  // namespace phalanx
