// Tells whether two processes have the same weights.
#ifndef PHALANX_MODEL_CHECKPOINT_WEIGHTS_DIGEST_H_
#define PHALANX_MODEL_CHECKPOINT_WEIGHTS_DIGEST_H_

#include <cstddef>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace phalanx {

// A digest of all bytes of tensor data, 32 hexadecimal digits (base/content_digest.h). `files` are
// the data of a model's files in file order, as Checkpoint::weight_data gives them; what comes
// before the data is in the fingerprint (model/checkpoint/fingerprint.h). Reads everything, at some
// GB/s if it is in the page cache. CANCELLED soon after `interrupted`, if it is not null, returns
// true.
absl::StatusOr<std::string> WeightsDigest(absl::Span<const absl::Span<const std::byte>> files,
                                          const std::function<bool()>& interrupted = nullptr);

}  // namespace phalanx

#endif  // PHALANX_MODEL_CHECKPOINT_WEIGHTS_DIGEST_H_
