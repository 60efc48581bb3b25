// What a coordinator and the process that renders its templates say to each other over a socket:
// messages of a header and bytes. Both are the same program, so a header is a struct.
#ifndef PHALANX_COORDINATOR_TEXT_RENDERER_WIRE_H_
#define PHALANX_COORDINATOR_TEXT_RENDERER_WIRE_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace phalanx {

enum class RendererCall : uint32_t {
  kConfigure,  // The first, and never again: no bytes, no answer.
  kCompile,    // The bytes are the source of a new template.
  kRender,     // The bytes are the variables, as JSON.
  kForget,     // The template is not used any more; no bytes, no answer.
};

struct RendererRequest {
  RendererCall call = RendererCall::kConfigure;
  uint32_t template_id = 0;
  uint64_t num_bytes = 0;
  // Of kConfigure.
  uint64_t max_steps = 0;
  uint64_t max_output_bytes = 0;
  uint64_t max_memory_bytes = 0;
  int64_t max_cpu_us = 0;
  int32_t parent = 0;
};

struct RendererAnswer {
  // Else the bytes are a message for who wrote the template or the variables.
  uint32_t ok = 0;
  // The process ends now, as it holds memory that it cannot free.
  uint32_t is_last = 0;
  uint64_t num_bytes = 0;
};

enum class WireResult { kDone, kClosed, kTimedOut };

// On a stream socket; give up at `deadline` of MonotonicClock(). Errors of the socket count as
// closed.
WireResult SendBytes(int fd, absl::string_view bytes, absl::Time deadline);
WireResult ReceiveBytes(int fd, char* bytes, size_t size, absl::Time deadline);

template <typename Header>
WireResult SendMessage(int fd, const Header& header, absl::string_view bytes, absl::Time deadline) {
  const WireResult sent = SendBytes(
      fd, absl::string_view(reinterpret_cast<const char*>(&header), sizeof(header)), deadline);
  return sent == WireResult::kDone ? SendBytes(fd, bytes, deadline) : sent;
}

// One of more than `max_bytes` counts as closed: whoever says so is not in order.
template <typename Header>
WireResult ReceiveMessage(int fd, size_t max_bytes, absl::Time deadline, Header* header,
                          std::string* bytes) {
  const WireResult received =
      ReceiveBytes(fd, reinterpret_cast<char*>(header), sizeof(*header), deadline);
  if (received != WireResult::kDone) return received;
  if (header->num_bytes > max_bytes) return WireResult::kClosed;
  bytes->resize(header->num_bytes);
  return ReceiveBytes(fd, bytes->data(), bytes->size(), deadline);
}

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_RENDERER_WIRE_H_
