// What an errno value means, from any thread.
#ifndef PHALANX_BASE_ERRNO_TEXT_H_
#define PHALANX_BASE_ERRNO_TEXT_H_

#include <string>
#include <system_error>

namespace phalanx {

// "No such file or directory" for ENOENT. Thread-safe, unlike strerror.
inline std::string ErrnoText(int error) { return std::generic_category().message(error); }

}  // namespace phalanx

#endif  // PHALANX_BASE_ERRNO_TEXT_H_
