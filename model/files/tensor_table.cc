#include "model/files/tensor_table.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace phalanx {

absl::Status TensorTable::Add(absl::string_view path, absl::Span<const TensorView> tensors) {
  tensors_.reserve(tensors_.size() + tensors.size());
  for (const TensorView& tensor : tensors) {
    if (!index_.emplace(tensor.name, tensors_.size()).second) {
      return absl::DataLossError(absl::StrCat(path, ": tensor ",
                                              absl::CHexEscape(tensor.name.substr(0, 80)),
                                              ": another file of the model has it too"));
    }
    tensors_.push_back(tensor);
  }
  return absl::OkStatus();
}

const TensorView* TensorTable::Find(absl::string_view name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &tensors_[it->second];
}

}  // namespace phalanx
