#include "kernels/linear_source.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace phalanx::kernels {

absl::StatusOr<LinearShape> CheckLinearSources(absl::Span<const LinearSource> sources) {
  LinearShape shape;
  for (const LinearSource& source : sources) {
    // The first source sets the number of inputs for all.
    if (shape.in_features == 0) shape.in_features = source.in_features;
    const int block = BlockElements(source.dtype);
    if (source.in_features < 1 || source.in_features != shape.in_features) {
      return absl::InvalidArgumentError(absl::StrCat("linear layer of ", source.in_features,
                                                     " inputs beside ", shape.in_features));
    }
    if (source.in_features % block != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("linear layer of ", source.in_features, " inputs of type ",
                       DTypeName(source.dtype), ", whose blocks of ", block, " cannot be cut"));
    }
    shape.out_features += static_cast<int64_t>(source.rows.size());
  }
  if (shape.out_features == 0) {
    return absl::InvalidArgumentError("linear layer without outputs");
  }
  return shape;
}

std::vector<LinearSize> SizesOf(absl::Span<const LinearSource> sources) {
  std::vector<LinearSize> sizes;
  sizes.reserve(sources.size());
  for (const LinearSource& source : sources) {
    sizes.push_back({source.dtype, source.in_features, static_cast<int64_t>(source.rows.size())});
  }
  return sizes;
}

absl::StatusOr<LinearShape> CheckGatedSources(const LinearSource& gate, const LinearSource& up) {
  absl::StatusOr<LinearShape> both = CheckLinearSources({gate, up});
  if (!both.ok()) return both.status();
  if (gate.rows.size() != up.rows.size()) {
    return absl::InvalidArgumentError(absl::StrCat("gated layer of ", gate.rows.size(),
                                                   " outputs of the gate beside ", up.rows.size()));
  }
  return LinearShape{both->in_features, both->out_features / 2};
}

}  // namespace phalanx::kernels
