// Owns a file descriptor.
#ifndef PHALANX_BASE_UNIQUE_FD_H_
#define PHALANX_BASE_UNIQUE_FD_H_

#include <unistd.h>

#include <utility>

namespace phalanx {

// Owns a descriptor and closes it; -1 for none.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.Release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this == &other) return *this;
    if (fd_ >= 0) close(fd_);
    fd_ = other.Release();
    return *this;
  }
  ~UniqueFd() {
    if (fd_ >= 0) close(fd_);
  }

  int get() const { return fd_; }
  // The descriptor, which the caller then owns.
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

}  // namespace phalanx

#endif  // PHALANX_BASE_UNIQUE_FD_H_
