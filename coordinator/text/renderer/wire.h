// The messages that a coordinator and the process that renders its templates exchange over a
// socket. Each is a header and bytes. Both are the same program, so a header is sent as the struct
// that it is in memory.
#ifndef PHALANX_COORDINATOR_TEXT_RENDERER_WIRE_H_
#define PHALANX_COORDINATOR_TEXT_RENDERER_WIRE_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace phalanx {

enum class RendererCall : uint32_t {
  kConfigure,  // Only as the first message. No bytes, no answer.
  kCompile,    // The bytes are the source of a new template.
  kRender,     // The bytes are the variables, as JSON.
  kForget,     // The template is not used any more. No bytes, no answer.
};

struct RendererRequest {
  RendererCall call = RendererCall::kConfigure;
  uint32_t template_id = 0;
  uint64_t num_bytes = 0;
  // The limits and the process id of the coordinator are set only for kConfigure.
  uint64_t max_steps = 0;
  uint64_t max_output_bytes = 0;
  uint64_t max_memory_bytes = 0;
  int64_t max_cpu_us = 0;
  int32_t parent = 0;
};

struct RendererAnswer {
  // Not 0 if the call succeeded. Otherwise the bytes are a message for the author of the template
  // or of the variables.
  uint32_t ok = 0;
  // Not 0 if the process ends now, because it holds memory that it cannot free.
  uint32_t is_last = 0;
  uint64_t num_bytes = 0;
};

enum class WireResult { kDone, kClosed, kTimedOut };

// Send and receive all bytes on a stream socket. They give up at `deadline`, a time of
// MonotonicClock(). Errors of the socket count as closed.
WireResult SendBytes(int fd, absl::string_view bytes, absl::Time deadline);
WireResult ReceiveBytes(int fd, char* bytes, size_t size, absl::Time deadline);

template <typename Header>
WireResult SendMessage(int fd, const Header& header, absl::string_view bytes, absl::Time deadline) {
  const WireResult sent = SendBytes(
      fd, absl::string_view(reinterpret_cast<const char*>(&header), sizeof(header)), deadline);
  return sent == WireResult::kDone ? SendBytes(fd, bytes, deadline) : sent;
}

// A message of more than `max_bytes` counts as closed, since its sender is not in order.
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
