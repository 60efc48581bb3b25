// Sizes for people.
#ifndef PHALANX_BASE_BYTES_TEXT_H_
#define PHALANX_BASE_BYTES_TEXT_H_

#include <cstdint>
#include <string>

namespace phalanx {

// "93.8 MiB", with about three digits, or "12 bytes".
std::string BytesText(int64_t bytes);

}  // namespace phalanx

#endif  // PHALANX_BASE_BYTES_TEXT_H_
