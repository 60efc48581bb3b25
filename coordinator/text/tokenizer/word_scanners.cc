#include "coordinator/text/tokenizer/word_scanners.h"

#include "absl/strings/match.h"
#include "coordinator/text/tokenizer/unicode.h"

namespace phalanx {
namespace {

bool IsLineBreak(char c) { return c == '\r' || c == '\n'; }

// [^\s\p{L}\p{N}]
bool IsPunctuation(CharClass c) { return c == CharClass::kMark || c == CharClass::kOther; }

// [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]
bool MayBeUpper(CharClass c) {
  return c == CharClass::kUpper || c == CharClass::kCaseless || c == CharClass::kMark;
}

// [\p{Ll}\p{Lm}\p{Lo}\p{M}]
bool MayBeLower(CharClass c) {
  return c == CharClass::kLower || c == CharClass::kCaseless || c == CharClass::kMark;
}

// Returns the end of the run of characters that begins at `begin` and whose classes `belongs`
// accepts, with `most` characters at most.
template <typename Predicate>
size_t RunEnd(absl::string_view text, size_t begin, Predicate belongs,
              size_t most = absl::string_view::npos) {
  size_t end = begin;
  for (; most > 0 && end < text.size(); --most) {
    const Char next = FirstChar(text.substr(end));
    if (!belongs(next.char_class)) break;
    end += next.bytes;
  }
  return end;
}

// Returns the end of the match of '(?:s|t|re|ve|m|ll|d) at `begin`, or `begin` if there is none.
size_t ContractionEnd(absl::string_view text, size_t begin) {
  const absl::string_view rest = text.substr(begin);
  if (rest.empty() || rest[0] != '\'') return begin;
  for (const absl::string_view contraction : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}) {
    if (absl::StartsWith(rest, contraction)) return begin + contraction.size();
  }
  return begin;
}

// Does what ContractionEnd does, for (?i:) in place of (?:).
size_t AnyCaseContractionEnd(absl::string_view text, size_t begin) {
  const absl::string_view rest = text.substr(begin);
  if (rest.size() < 2 || rest[0] != '\'') return begin;
  constexpr absl::string_view kLongS = "\u017f";  // Folds to "s" as "S" does.
  if (absl::StartsWith(rest.substr(1), kLongS)) return begin + 1 + kLongS.size();
  for (const absl::string_view contraction : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}) {
    if (absl::StartsWithIgnoreCase(rest, contraction)) return begin + contraction.size();
  }
  return begin;
}

// The run of white space that a text begins with.
struct SpaceRun {
  size_t end = 0;
  size_t last_begin = 0;        // Where its last character begins.
  size_t after_line_break = 0;  // The end of its last line break, or 0.
};

SpaceRun ScanSpace(absl::string_view text) {
  SpaceRun run;
  while (run.end < text.size()) {
    const Char next = FirstChar(text.substr(run.end));
    if (next.char_class != CharClass::kSpace) break;
    run.last_begin = run.end;
    run.end += next.bytes;
    if (IsLineBreak(text[run.last_begin])) run.after_line_break = run.end;
  }
  return run;
}

// \s+(?!\S)|\s+. The first alternative leaves the last character of a run to the word that follows
// it. It fails for a single character, which the second alternative takes.
size_t SpaceLength(const SpaceRun& run, bool ends_text) {
  return ends_text || run.last_begin == 0 ? run.end : run.last_begin;
}

// \s*[\r\n]+|\s+(?!\S)|\s+. The first alternative takes the run up to its last line break.
size_t LinesOrSpaceLength(absl::string_view text) {
  const SpaceRun run = ScanSpace(text);
  if (run.after_line_break > 0) return run.after_line_break;
  return SpaceLength(run, run.end == text.size());
}

// " ?[^\s\p{L}\p{N}]+[\r\n]*", where "/" counts among the last characters if `slashes`. 0 without a
// match.
size_t PunctuationLength(absl::string_view text, bool slashes) {
  const size_t begin = text[0] == ' ' ? 1 : 0;
  size_t end = RunEnd(text, begin, IsPunctuation);
  if (end == begin) return 0;
  while (end < text.size() && (IsLineBreak(text[end]) || (slashes && text[end] == '/'))) ++end;
  return end;
}

// Returns the length of [^\r\n\p{L}\p{N}], a character that may go before a word, or 0.
size_t WordPrefixLength(absl::string_view text, const Char& first) {
  const bool is_prefix = !IsLetter(first.char_class) && first.char_class != CharClass::kNumber &&
                         !IsLineBreak(text[0]);
  return is_prefix ? first.bytes : 0;
}

// Returns the end of the match of [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+ at
// `begin`, or `begin` if there is none.
size_t CapitalizedWordEnd(absl::string_view text, size_t begin) {
  size_t upper_end = begin;
  // A regular expression goes back here: if no lower case follows, the first part gives back
  // characters until the second can match one. That is the last character that both parts can
  // match.
  size_t both_end = begin;
  while (upper_end < text.size()) {
    const Char next = FirstChar(text.substr(upper_end));
    if (!MayBeUpper(next.char_class)) break;
    upper_end += next.bytes;
    if (MayBeLower(next.char_class)) both_end = upper_end;
  }
  const size_t lower_end = RunEnd(text, upper_end, MayBeLower);
  return lower_end > upper_end ? lower_end : both_end;
}

// The first two alternatives of kO200kPattern. 0 without a match.
size_t CasedWordLength(absl::string_view text, const Char& first) {
  const size_t prefix = WordPrefixLength(text, first);
  size_t end = CapitalizedWordEnd(text, prefix);
  if (end == prefix && prefix > 0 && first.char_class == CharClass::kMark) {
    // A mark can go before a word or be its beginning. The first alternative is tried in both ways
    // before the second one is tried at all.
    return AnyCaseContractionEnd(text, CapitalizedWordEnd(text, 0));
  }
  // If the first alternative fails, the second can match nothing but upper case.
  if (end == prefix) end = RunEnd(text, prefix, MayBeUpper);
  return end == prefix ? 0 : AnyCaseContractionEnd(text, end);
}

// kLlama3Pattern and kQwen2Pattern, which differ only in how many digits go together. The
// alternatives are tried in the order of the patterns.
size_t WordOrDigitsLength(absl::string_view text, size_t most_digits) {
  if (const size_t end = AnyCaseContractionEnd(text, 0); end > 0) return end;
  const Char first = FirstChar(text);
  const size_t prefix = WordPrefixLength(text, first);
  if (const size_t end = RunEnd(text, prefix, IsLetter); end > prefix) return end;
  if (first.char_class == CharClass::kNumber) {
    return RunEnd(
        text, 0, [](CharClass c) { return c == CharClass::kNumber; }, most_digits);
  }
  if (const size_t length = PunctuationLength(text, /*slashes=*/false); length > 0) return length;
  return LinesOrSpaceLength(text);
}

// kGpt2Pattern in a text that ends before the first number if `numbers_end_text`. White space at
// the end of a text is one piece, also its last character.
size_t Gpt2Length(absl::string_view text, bool numbers_end_text) {
  if (const size_t end = ContractionEnd(text, 0); end > 0) return end;
  // Each of the " ?" of the pattern takes a space only if something of its own kind follows.
  const size_t begin = text[0] == ' ' && text.size() > 1 ? 1 : 0;
  const CharClass first = FirstChar(text.substr(begin)).char_class;
  if (first == CharClass::kSpace || (first == CharClass::kNumber && numbers_end_text)) {
    const SpaceRun run = ScanSpace(text);
    return SpaceLength(run, run.end == text.size() ||
                                (numbers_end_text &&
                                 FirstChar(text.substr(run.end)).char_class == CharClass::kNumber));
  }
  if (IsLetter(first)) return RunEnd(text, begin, IsLetter);
  if (IsPunctuation(first)) return RunEnd(text, begin, IsPunctuation);
  return RunEnd(text, begin, [](CharClass c) { return c == CharClass::kNumber; });
}

}  // namespace

size_t Gpt2PieceLength(absl::string_view text) {
  return Gpt2Length(text, /*numbers_end_text=*/false);
}

size_t SmolLmPieceLength(absl::string_view text) {
  const Char first = FirstChar(text);
  if (first.char_class == CharClass::kNumber) return first.bytes;
  return Gpt2Length(text, /*numbers_end_text=*/true);
}

size_t Llama3PieceLength(absl::string_view text) { return WordOrDigitsLength(text, 3); }

size_t Qwen2PieceLength(absl::string_view text) { return WordOrDigitsLength(text, 1); }

size_t O200kPieceLength(absl::string_view text) {
  const Char first = FirstChar(text);
  if (const size_t length = CasedWordLength(text, first); length > 0) return length;
  if (first.char_class == CharClass::kNumber) {
    return RunEnd(
        text, 0, [](CharClass c) { return c == CharClass::kNumber; }, 3);
  }
  if (const size_t length = PunctuationLength(text, /*slashes=*/true); length > 0) return length;
  return LinesOrSpaceLength(text);
}

}  // namespace phalanx
