// The tensors of all files of a model, by name.
#ifndef PHALANX_MODEL_FILES_TENSOR_TABLE_H_
#define PHALANX_MODEL_FILES_TENSOR_TABLE_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/files/tensor.h"

namespace phalanx {

// Thread-compatible.
class TensorTable {
 public:
  // Appends the tensors of the file at `path`. DATA_LOSS, naming the tensor, if it is there
  // already.
  absl::Status Add(absl::string_view path, absl::Span<const TensorView> tensors);

  // In the order in which they were added.
  absl::Span<const TensorView> tensors() const { return tensors_; }
  // The tensor of that name; null if there is none. Valid until the next Add.
  const TensorView* Find(absl::string_view name) const;

 private:
  std::vector<TensorView> tensors_;
  absl::flat_hash_map<std::string, size_t> index_;
};

}  // namespace phalanx

#endif  // PHALANX_MODEL_FILES_TENSOR_TABLE_H_
