#include "coordinator/text/unicode.h"

#include <utf8proc.h>

namespace phalanx {
namespace {

struct ByteRange {
  uint8_t low = 0x80;
  uint8_t high = 0xbf;
};

// What may follow a lead byte: how many bytes, and the range of the first of them. Source: Unicode
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

bool IsWhiteSpace(int32_t c) {
  return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
         c == 0x3000;
}

CharClass ClassOf(int32_t codepoint) {
  switch (utf8proc_category(codepoint)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return CharClass::kLetter;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return CharClass::kNumber;
    default:
      return IsWhiteSpace(codepoint) ? CharClass::kSpace : CharClass::kOther;
  }
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
    range = {};
  }
  return {.bytes = static_cast<size_t>(lead.trail_bytes) + 1, .valid = true};
}

Char FirstChar(absl::string_view text) {
  const Utf8Prefix prefix = FirstUtf8(text);
  if (!prefix.valid) return {};
  int32_t codepoint = 0;
  utf8proc_iterate(reinterpret_cast<const uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(prefix.bytes), &codepoint);
  return {ClassOf(codepoint), prefix.bytes};
}

}  // namespace phalanx
