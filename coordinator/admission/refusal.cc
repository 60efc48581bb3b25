#include "coordinator/admission/refusal.h"

#include <string>

#include "absl/strings/cord.h"
#include "absl/types/optional.h"

namespace phalanx {
namespace {

// Under this name the status carries the name of the kind, which logs show behind the message.
constexpr absl::string_view kPayload = "refusal";

}  // namespace

absl::string_view RefusalKindName(RefusalKind kind) {
  switch (kind) {
    case RefusalKind::kMalformed:
      return "malformed";
    case RefusalKind::kUnknownModel:
      return "unknown_model";
    case RefusalKind::kEmpty:
      return "empty";
    case RefusalKind::kOutOfRange:
      return "out_of_range";
    case RefusalKind::kTooMany:
      return "too_many";
    case RefusalKind::kTooLarge:
      return "too_large";
    case RefusalKind::kTooLong:
      return "too_long";
    case RefusalKind::kUnsupported:
      return "unsupported";
    case RefusalKind::kTemplate:
      return "template";
    case RefusalKind::kBusy:
      return "busy";
    case RefusalKind::kTextQueueFull:
      return "text_queue_full";
    case RefusalKind::kQueueFull:
      return "queue_full";
    case RefusalKind::kNoWorkerGroup:
      return "no_worker_group";
    case RefusalKind::kFeatureMissing:
      return "feature_missing";
    case RefusalKind::kDraining:
      return "draining";
    case RefusalKind::kExpired:
      return "expired";
  }
  return "";
}

absl::Status Refused(RefusalKind kind, absl::Status status) {
  status.SetPayload(kPayload, absl::Cord(RefusalKindName(kind)));
  return status;
}

std::optional<RefusalKind> KindOfRefusal(const absl::Status& status) {
  const absl::optional<absl::Cord> note = status.GetPayload(kPayload);
  if (!note.has_value()) return std::nullopt;
  for (int i = 0; i < kNumRefusalKinds; ++i) {
    const auto kind = static_cast<RefusalKind>(i);
    if (*note == RefusalKindName(kind)) return kind;
  }
  return std::nullopt;
}

}  // namespace phalanx
