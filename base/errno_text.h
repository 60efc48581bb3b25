// What an errno value means, from any thread.
#ifndef PHALANX_BASE_ERRNO_TEXT_H_
#define PHALANX_BASE_ERRNO_TEXT_H_

#include <string.h>

#include <string>

namespace phalanx {

// "No such file or directory" for ENOENT. Thread-safe, unlike strerror. Not of
// std::generic_category, which UBSan takes for an object of another type.
inline std::string ErrnoText(int error) {
  const char* const text = strerrordesc_np(error);
  return text != nullptr ? text : "unknown error " + std::to_string(error);
}

}  // namespace phalanx

#endif  // PHALANX_BASE_ERRNO_TEXT_H_
