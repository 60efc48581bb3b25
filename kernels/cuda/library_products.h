// Products with many rows by cuBLASLt, for weights that are floats. Which of the library's
// algorithms is used is decided by measuring them when the program starts.
//
// The library's bits depend on the number of rows, so this is for Determinism::kFast only.
#ifndef PHALANX_KERNELS_CUDA_LIBRARY_PRODUCTS_H_
#define PHALANX_KERNELS_CUDA_LIBRARY_PRODUCTS_H_

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kernels/cuda/cublaslt_api.h"
#include "kernels/cuda/cuda_memory.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/product_choices.h"
#include "kernels/cuda/weight_layout.h"
#include "kernels/ops.h"

namespace phalanx::kernels::cuda {

// What an algorithm of the library may use while it runs.
inline constexpr size_t kLibraryWorkspaceBytes = size_t{32} << 20;

// Products that are not finished by the library (see Multiply and MultiplyGated) are made for at
// most so many rows at a time. They are then still in the GPU's cache when the next kernel reads
// them.
inline constexpr int64_t kLibrarySliceRows = 512;

// Device memory for products by the library; a part of the backend's workspace.
struct LibraryMemory {
  void* workspace = nullptr;  // kLibraryWorkspaceBytes.
  // For products that are not finished by the library.
  float* products = nullptr;
  int64_t product_floats = 0;
};

// How many floats LibraryMemory::products should have.
int64_t LibraryProductFloats(const WorkspaceLimits& limits);

// How long `run` takes, which queues one product on `stream`. The error of `run`, or of the device.
using TimeProduct = std::function<absl::StatusOr<absl::Duration>(
    cudaStream_t stream, absl::FunctionRef<absl::Status()> run)>;

// Runs it once for nothing, and then gives the median of five times that events tell.
absl::StatusOr<absl::Duration> TimeByEvents(cudaStream_t stream,
                                            absl::FunctionRef<absl::Status()> run);

// Not thread-safe.
class LibraryProducts {
 public:
  struct Options {
    int device = 0;
    std::string device_name = {};
    int major = 0;  // Compute capability.
    int minor = 0;
    // Products with fewer rows are left to other kernels.
    int64_t least_rows = 1;
    // The folder of the file of choices; empty for none.
    std::string cache_folder = {};
    // Gets lines for the log.
    std::function<void(const std::string&)> log = [](const std::string&) {};
    TimeProduct time = TimeByEvents;
  };

  // INTERNAL if the library cannot be used on the device.
  static absl::StatusOr<std::unique_ptr<LibraryProducts>> Create(const CublasLtApi& api,
                                                                 Options options);
  LibraryProducts(const LibraryProducts&) = delete;
  LibraryProducts& operator=(const LibraryProducts&) = delete;
  ~LibraryProducts();

  // To be called for each matrix that there is, before Prepare. `memory` holds it; the matrix is
  // not used any more once that is gone.
  enum class Role { kLinear, kGated };
  void AddMatrix(const DeviceMatrix& matrix, Role role, std::weak_ptr<const CudaBuffer> memory);

  // Chooses the algorithm for each matrix and the numbers of rows that `limits` allow: from the
  // file, or by measuring those that the library thinks best, which takes about a millisecond for
  // each. What is found goes into the file. What goes wrong is told by a line of the log; products
  // then run by the algorithm that the library thinks best. To be called when nothing runs.
  void Prepare(const WorkspaceLimits& limits, const LibraryMemory& memory);

  // Queues out = x W^T, with what `out` says of bias and addition. Returns false, having queued
  // nothing that matters, if the library cannot do that or the rows are few. May be recorded. The
  // results are as exact as those of our own kernels: sums are in float32, and are rounded once.
  bool Multiply(cudaStream_t stream, const Tensor& x, const DeviceMatrix& w,
                const LinearOutput& out);
  // Queues out = silu(x Wg^T) * (x Wu^T), in the same way.
  bool MultiplyGated(cudaStream_t stream, const Tensor& x, const DeviceMatrix& gate,
                     const DeviceMatrix& up, const Tensor& out);

 private:
  struct Matrix {
    DeviceMatrix matrix;
    Role role = Role::kLinear;
    std::weak_ptr<const CudaBuffer> memory;
  };
  // A product that is to be run.
  struct Product {
    const void* x = nullptr;
    int64_t rows = 0;
    const DeviceMatrix* w = nullptr;
    DType type = DType::kBF16;  // Of x and w.
    void* out = nullptr;
    DType out_type = DType::kF32;
    int64_t out_stride = 0;
    bool adds = false;
  };
  // A product of Prepare, and the matrix to measure it with.
  struct Wanted {
    ProductShape shape;
    const Matrix* matrix = nullptr;
    int64_t rows = 0;
  };
  class Descriptors;
  class Measurement;

  LibraryProducts(const CublasLtApi& api, CublasLtHandle handle, Options options);

  // Outputs that kernels for unfinished products take at once.
  static constexpr int64_t kOutputsAtOnce = 4;
  // The number of rows up to which the algorithm for `rows` rows is chosen: 128, 256 and so on.
  static int64_t BucketOf(int64_t rows);
  // Nothing if the library cannot multiply them with any inputs.
  static std::optional<DType> TypeOfWeights(const DeviceMatrix& w);
  bool Suits(const Tensor& x, const DeviceMatrix& w) const;
  ProductShape ShapeOf(const Product& product) const;
  // Rows of one slice; 0 if there is too little memory for unfinished products.
  int64_t SliceRows(int64_t rows, int64_t floats_per_row) const;
  bool Run(cudaStream_t stream, const Product& product);
  // INTERNAL with the library's words if it refuses.
  absl::Status RunBy(const CublasLtAlgo& algo, cudaStream_t stream, const Product& product);
  // What the library thinks of, best first; algorithms that it knows to fail are left out.
  std::vector<CublasLtAlgo> Candidates(const Product& product);
  // Whether the library takes the algorithm, which comes from a file, for this product.
  bool Accepts(const CublasLtAlgo& algo, const Product& product);
  absl::Status Failure(CublasLtStatus status, const char* doing) const;

  std::vector<Wanted> WantedProducts(const WorkspaceLimits& limits) const;
  // Takes over what the file has for `wanted`, and returns what it has not.
  std::vector<Wanted> TakeFromFile(std::vector<Wanted> wanted);
  void Measure(const std::vector<Wanted>& wanted);

  const CublasLtApi api_;
  const CublasLtHandle handle_;
  const Options options_;
  const ProductDevice device_;
  std::vector<Matrix> matrices_;
  LibraryMemory memory_;
  ProductChoices choices_;
  bool has_told_of_failure_ = false;
};

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_LIBRARY_PRODUCTS_H_
