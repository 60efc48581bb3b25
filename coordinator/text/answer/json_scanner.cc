#include "coordinator/text/answer/json_scanner.h"

#include "absl/strings/ascii.h"

namespace phalanx {
namespace {

bool IsSpace(char byte) { return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r'; }

}  // namespace

size_t JsonScanner::Push(absl::string_view text) {
  size_t taken = 0;
  while (taken < text.size() && state_ == State::kMore) {
    if (Take(text[taken])) {
      ++taken;
    } else {
      state_ = State::kBroken;
    }
  }
  return taken;
}

bool JsonScanner::Take(char byte) {
  switch (expect_) {
    case Expect::kString:
    case Expect::kEscape:
    case Expect::kHex:
      return TakeInString(byte);
    case Expect::kWord:
      if (byte != word_left_[0]) return false;
      word_left_.remove_prefix(1);
      if (word_left_.empty()) ValueEnds();
      return true;
    case Expect::kMinus:
    case Expect::kZero:
    case Expect::kInteger:
    case Expect::kPoint:
    case Expect::kFraction:
    case Expect::kE:
    case Expect::kSign:
    case Expect::kExponent:
      return TakeInNumber(byte);
    default:
      break;
  }
  if (expect_ != Expect::kOpening && IsSpace(byte)) return true;
  switch (expect_) {
    case Expect::kOpening:
      return (byte == '{' || byte == '[') && TakeOpening(byte);
    case Expect::kFirstValue:
      return byte == ']' ? TakeClosing(byte) : TakeValue(byte);
    case Expect::kValue:
      return TakeValue(byte);
    case Expect::kFirstKey:
      if (byte == '}') return TakeClosing(byte);
      [[fallthrough]];
    case Expect::kKey:
      if (byte != '"') return false;
      string_is_key_ = true;
      expect_ = Expect::kString;
      return true;
    case Expect::kColon:
      expect_ = Expect::kValue;
      return byte == ':';
    default:
      return TakeComma(byte);
  }
}

bool JsonScanner::TakeValue(char byte) {
  switch (byte) {
    case '{':
    case '[':
      return TakeOpening(byte);
    case '"':
      string_is_key_ = false;
      expect_ = Expect::kString;
      return true;
    case 't':
      word_left_ = "rue";
      expect_ = Expect::kWord;
      return true;
    case 'f':
      word_left_ = "alse";
      expect_ = Expect::kWord;
      return true;
    case 'n':
      word_left_ = "ull";
      expect_ = Expect::kWord;
      return true;
    case '-':
      expect_ = Expect::kMinus;
      return true;
    case '0':
      expect_ = Expect::kZero;
      return true;
    default:
      expect_ = Expect::kInteger;
      return absl::ascii_isdigit(byte);
  }
}

bool JsonScanner::TakeOpening(char byte) {
  if (open_.size() >= max_depth_) return false;
  open_.push_back(byte);
  expect_ = byte == '{' ? Expect::kFirstKey : Expect::kFirstValue;
  return true;
}

bool JsonScanner::TakeClosing(char byte) {
  if (open_.back() != (byte == '}' ? '{' : '[')) return false;
  open_.pop_back();
  ValueEnds();
  if (open_.empty()) state_ = State::kEnd;
  return true;
}

bool JsonScanner::TakeComma(char byte) {
  if (byte != ',') return (byte == '}' || byte == ']') && TakeClosing(byte);
  expect_ = open_.back() == '{' ? Expect::kKey : Expect::kValue;
  return true;
}

bool JsonScanner::TakeInString(char byte) {
  if (expect_ == Expect::kHex) {
    if (--hex_digits_left_ == 0) expect_ = Expect::kString;
    return absl::ascii_isxdigit(byte);
  }
  if (expect_ == Expect::kEscape) {
    expect_ = byte == 'u' ? Expect::kHex : Expect::kString;
    hex_digits_left_ = 4;
    return absl::string_view("\"\\/bfnrtu").find(byte) != absl::string_view::npos;
  }
  if (byte == '\\') {
    expect_ = Expect::kEscape;
  } else if (byte == '"') {
    expect_ = string_is_key_ ? Expect::kColon : Expect::kComma;
  } else if (static_cast<unsigned char>(byte) < ' ') {
    return false;
  }
  return true;
}

bool JsonScanner::TakeInNumber(char byte) {
  const bool digit = absl::ascii_isdigit(byte);
  const bool may_end = expect_ == Expect::kZero || expect_ == Expect::kInteger ||
                       expect_ == Expect::kFraction || expect_ == Expect::kExponent;
  const bool is_integer = expect_ == Expect::kZero || expect_ == Expect::kInteger;
  if (digit && expect_ != Expect::kZero) {
    switch (expect_) {
      case Expect::kMinus:
        expect_ = byte == '0' ? Expect::kZero : Expect::kInteger;
        break;
      case Expect::kPoint:
        expect_ = Expect::kFraction;
        break;
      case Expect::kE:
      case Expect::kSign:
        expect_ = Expect::kExponent;
        break;
      default:
        break;
    }
    return true;
  }
  if (is_integer && byte == '.') {
    expect_ = Expect::kPoint;
    return true;
  }
  if ((is_integer || expect_ == Expect::kFraction) && (byte == 'e' || byte == 'E')) {
    expect_ = Expect::kE;
    return true;
  }
  if (expect_ == Expect::kE && (byte == '+' || byte == '-')) {
    expect_ = Expect::kSign;
    return true;
  }
  if (!may_end) return false;
  // The number has ended before this byte.
  ValueEnds();
  return Take(byte);
}

}  // namespace phalanx
