// Why requests are not taken in, in a form that can be counted.
#ifndef PHALANX_COORDINATOR_ADMISSION_REFUSAL_H_
#define PHALANX_COORDINATOR_ADMISSION_REFUSAL_H_

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace phalanx {

enum class RefusalKind : uint8_t {
  // --- The request is wrong, and would be refused again. ---
  kMalformed,     // Bytes that are no message, or one that is too large once it is unpacked or has
                  // fields that this server does not know.
  kUnknownModel,  // A model that this server does not have.
  kEmpty,         // A field that must be set is not, or is empty.
  kOutOfRange,    // A value that its field cannot have.
  kTooMany,       // More elements than a field may have.
  kTooLarge,      // More bytes than a request, or its text, may have on the wire.
  kTooLong,       // More tokens than the context has.
  kUnsupported,   // What the model cannot do: chat, tools.
  kTemplate,      // A conversation or a text that cannot be turned into tokens.

  // --- The server cannot take it now, another or a later try may succeed. ---
  kBusy,            // As many requests as the server works on at once.
  kTextQueueFull,   // Too much text waits to be tokenized.
  kQueueFull,       // The queues of the worker groups are full.
  kNoWorkerGroup,   // No worker group takes requests.
  kFeatureMissing,  // No worker group that takes requests can do what this one needs.
  kDraining,        // The server is shutting down.
  kExpired,         // The caller's deadline had passed.
};

inline constexpr int kNumRefusalKinds = static_cast<int>(RefusalKind::kExpired) + 1;

// As the label of the metric: "out_of_range".
absl::string_view RefusalKindName(RefusalKind kind);

// `status` with its kind noted in it, unless it is OK. The note is for this process: nothing of it
// is sent.
absl::Status Refused(RefusalKind kind, absl::Status status);

// What was noted; nothing if the status is no refusal.
std::optional<RefusalKind> KindOfRefusal(const absl::Status& status);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_ADMISSION_REFUSAL_H_
