// Writes numbers in messages.
#ifndef PHALANX_BASE_NUMBER_TEXT_H_
#define PHALANX_BASE_NUMBER_TEXT_H_

#include <string>
#include <type_traits>

namespace phalanx {

// The shortest text that is read back as the same number: "0.1", "1e-06", or "1.0000001" where six
// digits would say "1". A number that is exactly a float is written as a float: 0.1f is "0.1".
std::string NumberText(double value);

// For absl::StrCat, which writes six digits of a number with a fraction. Gives the NumberText of
// such a number, and every other value as it is.
template <typename T>
decltype(auto) Readable(const T& value) {
  if constexpr (std::is_floating_point_v<T>) {
    return NumberText(value);
  } else {
    return (value);
  }
}

}  // namespace phalanx

#endif  // PHALANX_BASE_NUMBER_TEXT_H_
