#include "coordinator/text/tokenizer/nfc.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <vector>

#include "coordinator/text/tokenizer/unicode.h"

namespace phalanx {
namespace {

struct Range {
  int32_t first;
  int32_t last;
};

// Marks with a combining class that Unicode 9 did not have. Hugging Face tokenizers does not
// reorder them, so they count as class 0 here. Source: UnicodeData.txt 15.0.0 without 9.0.0.
constexpr Range kSinceUnicode9[] = {
    {0x7fd, 0x7fd},     {0x898, 0x89f},     {0x8ca, 0x8d3},     {0x9fe, 0x9fe},
    {0xc3c, 0xc3c},     {0xd3b, 0xd3c},     {0xeba, 0xeba},     {0x1715, 0x1715},
    {0x1abf, 0x1ace},   {0x1df6, 0x1dfa},   {0xa82c, 0xa82c},   {0x10d24, 0x10d27},
    {0x10eab, 0x10eac}, {0x10efd, 0x10eff}, {0x10f46, 0x10f50}, {0x10f82, 0x10f85},
    {0x11070, 0x11070}, {0x1133b, 0x1133b}, {0x1145e, 0x1145e}, {0x11839, 0x1183a},
    {0x1193d, 0x1193e}, {0x11943, 0x11943}, {0x119e0, 0x119e0}, {0x11a34, 0x11a34},
    {0x11a47, 0x11a47}, {0x11a99, 0x11a99}, {0x11d42, 0x11d42}, {0x11d44, 0x11d45},
    {0x11d97, 0x11d97}, {0x11f41, 0x11f42}, {0x16ff0, 0x16ff1}, {0x1e08f, 0x1e08f},
    {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef}, {0x1e4ec, 0x1e4ef},
};

int CombiningClass(int32_t codepoint) {
  const auto combining_class = utf8proc_get_property(codepoint)->combining_class;
  if (combining_class == 0) return 0;
  const Range* const range =
      std::lower_bound(std::begin(kSinceUnicode9), std::end(kSinceUnicode9), codepoint,
                       [](const Range& r, int32_t c) { return r.last < c; });
  const bool is_new = range != std::end(kSinceUnicode9) && range->first <= codepoint;
  return is_new ? 0 : combining_class;
}

// Appends the canonical decomposition of a well-formed text.
void Decompose(absl::string_view text, std::vector<int32_t>* codepoints) {
  const auto* next = reinterpret_cast<const uint8_t*>(text.data());
  auto left = static_cast<utf8proc_ssize_t>(text.size());
  while (left > 0) {
    int32_t codepoint = 0;
    const utf8proc_ssize_t bytes = utf8proc_iterate(next, left, &codepoint);
    next += bytes;
    left -= bytes;
    int32_t parts[8];  // The longest canonical decomposition has four.
    const utf8proc_ssize_t count = utf8proc_decompose_char(
        codepoint, parts, std::size(parts),
        static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE), nullptr);
    codepoints->insert(codepoints->end(), parts, parts + count);
  }
}

// Sorts each row of marks between two starters by combining class. utf8proc would do it too, but in
// time quadratic in the length of the row.
void OrderMarks(std::vector<int32_t>* codepoints) {
  const auto is_starter = [](int32_t c) { return CombiningClass(c) == 0; };
  for (auto at = codepoints->begin(); at != codepoints->end();) {
    at = std::find_if_not(at, codepoints->end(), is_starter);
    const auto end = std::find_if(at, codepoints->end(), is_starter);
    // Marks of the same class must keep their order.
    std::stable_sort(at, end,
                     [](int32_t a, int32_t b) { return CombiningClass(a) < CombiningClass(b); });
    at = end;
  }
}

void AppendNfc(absl::string_view text, std::string* nfc) {
  std::vector<int32_t> codepoints;
  codepoints.reserve(text.size());
  Decompose(text, &codepoints);
  OrderMarks(&codepoints);
  const utf8proc_ssize_t count =
      utf8proc_normalize_utf32(codepoints.data(), static_cast<utf8proc_ssize_t>(codepoints.size()),
                               static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  for (utf8proc_ssize_t i = 0; i < count; ++i) {
    uint8_t bytes[4];
    const utf8proc_ssize_t length = utf8proc_encode_char(codepoints[i], bytes);
    nfc->append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(length));
  }
}

// Whether the first character of `text` may compose with one before it, or change places with it:
// marks do, and the vowels and final consonants of Hangul (U+1160 to U+11FF).
bool ContinuesNfcPiece(absl::string_view text) {
  const bool is_hangul = text.size() >= 3 && text[0] == '\xe1' &&
                         (text[1] == '\x85' || text[1] == '\x86' || text[1] == '\x87') &&
                         !(text[1] == '\x85' && static_cast<uint8_t>(text[2]) < 0xa0);
  return is_hangul || FirstChar(text).char_class == CharClass::kMark;
}

// The bytes of the characters with which both texts begin.
size_t CommonPrefix(absl::string_view a, absl::string_view b) {
  size_t bytes = 0;
  while (bytes < a.size()) {
    const absl::string_view next = a.substr(bytes, FirstChar(a.substr(bytes)).bytes);
    if (b.substr(bytes, next.size()) != next) break;
    bytes += next.size();
  }
  return bytes;
}

// The bytes of the characters with which both texts end.
size_t CommonSuffix(absl::string_view a, absl::string_view b) {
  size_t bytes = 0;
  while (bytes < std::min(a.size(), b.size())) {
    const absl::string_view rest = a.substr(0, a.size() - bytes);
    const absl::string_view last = rest.substr(rest.size() - LastCharBytes(rest));
    const absl::string_view other = b.substr(0, b.size() - bytes);
    if (other.size() < last.size() || other.substr(other.size() - last.size()) != last) break;
    bytes += last.size();
  }
  return bytes;
}

}  // namespace

bool IsPlainlyNfc(absl::string_view text) {
  // Below 0xcc there are only the bytes of characters below U+0300. That is the first character
  // that composes with another one, and NFC changes none below it.
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<uint8_t>(c) < 0xcc; });
}

std::string ToNfc(absl::string_view text) {
  std::string nfc;
  nfc.reserve(text.size());
  while (!text.empty()) {
    size_t valid_bytes = 0;
    while (valid_bytes < text.size()) {
      const Utf8Prefix next = FirstUtf8(text.substr(valid_bytes));
      if (!next.valid) break;
      valid_bytes += next.bytes;
    }
    AppendNfc(text.substr(0, valid_bytes), &nfc);
    text.remove_prefix(valid_bytes);
    if (text.empty()) break;
    nfc.push_back(text[0]);
    text.remove_prefix(1);
  }
  return nfc;
}

std::vector<NfcPiece> AlignNfc(absl::string_view text) {
  std::vector<NfcPiece> pieces;
  const auto add = [&pieces](size_t text_bytes, size_t nfc_bytes, bool unchanged) {
    if (text_bytes + nfc_bytes == 0) return;
    if (unchanged && !pieces.empty() && pieces.back().unchanged) {
      pieces.back().text_bytes += text_bytes;
      pieces.back().nfc_bytes += nfc_bytes;
    } else {
      pieces.push_back({text_bytes, nfc_bytes, unchanged});
    }
  };
  while (!text.empty()) {
    size_t end = FirstChar(text).bytes;
    while (end < text.size() && ContinuesNfcPiece(text.substr(end))) {
      end += FirstChar(text.substr(end)).bytes;
    }
    const absl::string_view piece = text.substr(0, end);
    text.remove_prefix(end);
    const std::string nfc = IsPlainlyNfc(piece) ? std::string(piece) : ToNfc(piece);
    // Of a piece that changes, the characters at its ends may stay the same.
    const size_t before = CommonPrefix(piece, nfc);
    const size_t behind = CommonSuffix(piece.substr(before), absl::string_view(nfc).substr(before));
    add(before, before, true);
    add(piece.size() - before - behind, nfc.size() - before - behind, false);
    add(behind, behind, true);
  }
  return pieces;
}

}  // namespace phalanx
