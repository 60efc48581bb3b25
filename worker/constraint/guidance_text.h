// Texts from the library behind guidance.h.
#ifndef PHALANX_WORKER_CONSTRAINT_GUIDANCE_TEXT_H_
#define PHALANX_WORKER_CONSTRAINT_GUIDANCE_TEXT_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "worker/constraint/guidance/guidance.h"

namespace phalanx {

// Where a call of the library leaves the reason why it failed.
class GuidanceError {
 public:
  GuidanceError() = default;
  GuidanceError(const GuidanceError&) = delete;
  GuidanceError& operator=(const GuidanceError&) = delete;
  // Only Rust's allocator may free what it allocated.
  ~GuidanceError() {
    if (data != nullptr) phalanx_guidance_free_bytes(data, size);
  }

  std::string text() const { return std::string(reinterpret_cast<const char*>(data), size); }

  uint8_t* data = nullptr;
  size_t size = 0;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_CONSTRAINT_GUIDANCE_TEXT_H_
