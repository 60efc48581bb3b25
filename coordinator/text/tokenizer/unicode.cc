#include "coordinator/text/tokenizer/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <iterator>

namespace phalanx {
namespace {

struct ByteRange {
  uint8_t low = 0x80;
  uint8_t high = 0xbf;
};

// What may follow a lead byte: how many bytes, and the range of the first of them. Narrower ranges
// keep out longer spellings than needed, surrogates, and what is beyond U+10FFFF. Source: Unicode
// 15, table 3-7.
struct Lead {
  int trail_bytes = -1;  // -1: not a lead byte.
  ByteRange second;
};

Lead LeadOf(uint8_t byte) {
  if (byte < 0x80) return {0, {}};
  if (byte < 0xc2) return {-1, {}};
  if (byte < 0xe0) return {1, {}};
  if (byte == 0xe0) return {2, {0xa0, 0xbf}};
  if (byte == 0xed) return {2, {0x80, 0x9f}};
  if (byte < 0xf0) return {2, {}};
  if (byte == 0xf0) return {3, {0x90, 0xbf}};
  if (byte < 0xf4) return {3, {}};
  if (byte == 0xf4) return {3, {0x80, 0x8f}};
  return {-1, {}};
}

// The property White_Space, which goes across general categories.
bool IsWhiteSpace(int32_t c) {
  return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
         c == 0x3000;
}

struct ClassRange {
  int32_t first;
  int32_t last;
  CharClass char_class;
};

// The characters that Unicode 16 has, but not Unicode 15, which Debian's utf8proc knows. Source:
// UnicodeData.txt 16.0.0.
constexpr ClassRange kSinceUnicode15[] = {
    {0x897, 0x897, CharClass::kMark},         {0x1c89, 0x1c89, CharClass::kUpper},
    {0x1c8a, 0x1c8a, CharClass::kLower},      {0xa7cb, 0xa7cc, CharClass::kUpper},
    {0xa7cd, 0xa7cd, CharClass::kLower},      {0xa7da, 0xa7da, CharClass::kUpper},
    {0xa7db, 0xa7db, CharClass::kLower},      {0xa7dc, 0xa7dc, CharClass::kUpper},
    {0x105c0, 0x105f3, CharClass::kCaseless}, {0x10d40, 0x10d49, CharClass::kNumber},
    {0x10d4a, 0x10d4f, CharClass::kCaseless}, {0x10d50, 0x10d65, CharClass::kUpper},
    {0x10d69, 0x10d6d, CharClass::kMark},     {0x10d6f, 0x10d6f, CharClass::kCaseless},
    {0x10d70, 0x10d85, CharClass::kLower},    {0x10ec2, 0x10ec4, CharClass::kCaseless},
    {0x10efc, 0x10efc, CharClass::kMark},     {0x11380, 0x11389, CharClass::kCaseless},
    {0x1138b, 0x1138b, CharClass::kCaseless}, {0x1138e, 0x1138e, CharClass::kCaseless},
    {0x11390, 0x113b5, CharClass::kCaseless}, {0x113b7, 0x113b7, CharClass::kCaseless},
    {0x113b8, 0x113c0, CharClass::kMark},     {0x113c2, 0x113c2, CharClass::kMark},
    {0x113c5, 0x113c5, CharClass::kMark},     {0x113c7, 0x113ca, CharClass::kMark},
    {0x113cc, 0x113d0, CharClass::kMark},     {0x113d1, 0x113d1, CharClass::kCaseless},
    {0x113d2, 0x113d2, CharClass::kMark},     {0x113d3, 0x113d3, CharClass::kCaseless},
    {0x113e1, 0x113e2, CharClass::kMark},     {0x116d0, 0x116e3, CharClass::kNumber},
    {0x11bc0, 0x11be0, CharClass::kCaseless}, {0x11bf0, 0x11bf9, CharClass::kNumber},
    {0x11f5a, 0x11f5a, CharClass::kMark},     {0x13460, 0x143fa, CharClass::kCaseless},
    {0x16100, 0x1611d, CharClass::kCaseless}, {0x1611e, 0x1612f, CharClass::kMark},
    {0x16130, 0x16139, CharClass::kNumber},   {0x16d40, 0x16d6c, CharClass::kCaseless},
    {0x16d70, 0x16d79, CharClass::kNumber},   {0x18cff, 0x18cff, CharClass::kCaseless},
    {0x1ccf0, 0x1ccf9, CharClass::kNumber},   {0x1e5d0, 0x1e5ed, CharClass::kCaseless},
    {0x1e5ee, 0x1e5ef, CharClass::kMark},     {0x1e5f0, 0x1e5f0, CharClass::kCaseless},
    {0x1e5f1, 0x1e5fa, CharClass::kNumber},   {0x2ebf0, 0x2ee5d, CharClass::kCaseless}};

CharClass ClassOfNewChar(int32_t codepoint) {
  const ClassRange* range =
      std::lower_bound(std::begin(kSinceUnicode15), std::end(kSinceUnicode15), codepoint,
                       [](const ClassRange& r, int32_t c) { return r.last < c; });
  const bool found = range != std::end(kSinceUnicode15) && range->first <= codepoint;
  return found ? range->char_class : CharClass::kOther;
}

CharClass ClassOf(int32_t codepoint) {
  switch (utf8proc_category(codepoint)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LT:
      return CharClass::kUpper;
    case UTF8PROC_CATEGORY_LL:
      return CharClass::kLower;
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return CharClass::kCaseless;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
      return CharClass::kMark;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return CharClass::kNumber;
    case UTF8PROC_CATEGORY_CN:
      return ClassOfNewChar(codepoint);
    default:
      return IsWhiteSpace(codepoint) ? CharClass::kSpace : CharClass::kOther;
  }
}

// Returns the first character of `text`. `prefix` is FirstUtf8(text), and valid.
int32_t Codepoint(absl::string_view text, const Utf8Prefix& prefix) {
  int32_t codepoint = 0;
  utf8proc_iterate(reinterpret_cast<const uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(prefix.bytes), &codepoint);
  return codepoint;
}

}  // namespace

Utf8Prefix FirstUtf8(absl::string_view text) {
  const Lead lead = LeadOf(static_cast<uint8_t>(text[0]));
  if (lead.trail_bytes < 0) return {};
  ByteRange range = lead.second;
  for (int i = 1; i <= lead.trail_bytes; ++i) {
    const auto have = static_cast<size_t>(i);
    if (have == text.size()) return {.bytes = have, .valid = false, .incomplete = true};
    const auto byte = static_cast<uint8_t>(text[have]);
    if (byte < range.low || byte > range.high) return {.bytes = have};
    // Only the first of the bytes that follow has a range of its own.
    range = {};
  }
  return {.bytes = static_cast<size_t>(lead.trail_bytes) + 1, .valid = true};
}

Char FirstWideChar(absl::string_view text) {
  const Utf8Prefix prefix = FirstUtf8(text);
  if (!prefix.valid) return {};
  return {ClassOf(Codepoint(text, prefix)), prefix.bytes};
}

size_t LastCharBytes(absl::string_view text) {
  for (size_t bytes = 1; bytes <= std::min<size_t>(4, text.size()); ++bytes) {
    const Utf8Prefix prefix = FirstUtf8(text.substr(text.size() - bytes));
    if (prefix.valid && prefix.bytes == bytes) return bytes;
  }
  return 1;
}

bool IsWordChar(absl::string_view text) {
  const Utf8Prefix prefix = FirstUtf8(text);
  if (!prefix.valid) return false;
  const int32_t c = Codepoint(text, prefix);
  switch (ClassOf(c)) {
    case CharClass::kNumber:
      // Digits and numbers that are letters, such as Roman ones, are in words. Others, such as
      // fractions, are not.
      return utf8proc_category(c) != UTF8PROC_CATEGORY_NO;
    case CharClass::kSpace:
      return false;
    case CharClass::kOther:
      // Punctuation that connects words, such as "_", the joiners, and letters in circles and
      // squares, which are symbols that count as letters.
      return utf8proc_category(c) == UTF8PROC_CATEGORY_PC || c == 0x200c || c == 0x200d ||
             (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
             (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189);
    default:
      return true;
  }
}

}  // namespace phalanx
