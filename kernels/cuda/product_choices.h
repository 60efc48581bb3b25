// Which of a library's algorithms is fastest for which product, and the file that keeps it from one
// start of a program to the next.
//
// The file is text. Its first lines say what its choices hold for: the device's name and compute
// capability, and the version of the library. Then comes a line for each choice, and at the end a
// sum over all bytes before it.
#ifndef PHALANX_KERNELS_CUDA_PRODUCT_CHOICES_H_
#define PHALANX_KERNELS_CUDA_PRODUCT_CHOICES_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kernels/cuda/cublaslt_api.h"
#include "kernels/dtype.h"

namespace phalanx::kernels::cuda {

// Products that one algorithm is chosen for.
struct ProductShape {
  int64_t outputs = 0;
  int64_t inputs = 0;
  int64_t most_rows = 0;         // The largest number of rows that the choice is for.
  DType in_type = DType::kBF16;  // Of inputs and weights.
  DType out_type = DType::kBF16;
  bool adds = false;  // Whether products are added to what is there.

  friend bool operator==(const ProductShape& a, const ProductShape& b) = default;
  friend bool operator<(const ProductShape& a, const ProductShape& b) { return a.Key() < b.Key(); }

 private:
  std::tuple<int64_t, int64_t, int64_t, DType, DType, bool> Key() const {
    return {outputs, inputs, most_rows, in_type, out_type, adds};
  }
};

// For logs, for example "3072 x 8192, 512 rows, BF16 to F32, added".
std::string ProductText(const ProductShape& shape);

// The algorithm of each product; none if the library has none that runs.
using ProductChoices = std::map<ProductShape, std::optional<CublasLtAlgo>>;

// What choices hold for.
struct ProductDevice {
  std::string name;
  int major = 0;  // Compute capability.
  int minor = 0;
  size_t library_version = 0;
};

// The name of the file for a device, without a folder.
std::string ChoicesFileName(const ProductDevice& device);

// What is in the file.
std::string FormatChoices(const ProductDevice& device, const ProductChoices& choices);
// INVALID_ARGUMENT, saying what is wrong, if the text is damaged or holds for something else.
absl::StatusOr<ProductChoices> ParseChoices(const ProductDevice& device, absl::string_view text);

// NOT_FOUND if there is no file, UNAVAILABLE if it cannot be read, else as ParseChoices.
absl::StatusOr<ProductChoices> ReadChoices(const std::string& folder, const ProductDevice& device);

// Puts `choices` into the file, beside those that are in it already, and makes the folder if it is
// not there. Readers see the file as it was or as it will be. UNAVAILABLE if that is not possible.
absl::Status WriteChoices(const std::string& folder, const ProductDevice& device,
                          const ProductChoices& choices);

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_PRODUCT_CHOICES_H_
