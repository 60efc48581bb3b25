// Checks on the weights that a backend is given, shared by all backends.
#ifndef PHALANX_KERNELS_LINEAR_SOURCE_H_
#define PHALANX_KERNELS_LINEAR_SOURCE_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/ops.h"

namespace phalanx::kernels {

// Shape of the layer that Backend::PackLinear makes of `sources`.
struct LinearShape {
  int64_t in_features = 0;
  int64_t out_features = 0;
};

// INVALID_ARGUMENT if `sources` is empty, has in_features that are below 1, differ between sources
// or are not a multiple of the type's block, or has no row at all.
absl::StatusOr<LinearShape> CheckLinearSources(absl::Span<const LinearSource> sources);

// What the sources take up.
std::vector<LinearSize> SizesOf(absl::Span<const LinearSource> sources);

// The shape of each of the matrices that Backend::PackGatedLinear makes. INVALID_ARGUMENT as
// CheckLinearSources, and if the two have not the same number of outputs.
absl::StatusOr<LinearShape> CheckGatedSources(const LinearSource& gate, const LinearSource& up);

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_LINEAR_SOURCE_H_
