#include "base/number_text.h"

#include <charconv>
#include <cmath>
#include <limits>

namespace phalanx {
namespace {

template <typename T>
std::string Shortest(T value) {
  char text[64];
  const std::to_chars_result result = std::to_chars(text, text + sizeof(text), value);
  return std::string(text, result.ptr);
}

}  // namespace

std::string NumberText(double value) {
  const bool fits = std::abs(value) <= static_cast<double>(std::numeric_limits<float>::max());
  if (fits && static_cast<double>(static_cast<float>(value)) == value) {
    return Shortest(static_cast<float>(value));
  }
  return Shortest(value);
}

}  // namespace phalanx
