#include "kernels/cuda/library_products.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/product_finish.h"

namespace phalanx::kernels::cuda {
namespace {

// An algorithm is chosen for numbers of rows up to this, twice this, and so on.
constexpr int64_t kLeastBucketRows = 128;
constexpr int kMostCandidates = 8;
// Of all matrices: what 16-byte accesses need.
constexpr int64_t kAlignment = 16;

cudaDataType_t TypeOf(DType dtype) { return dtype == DType::kF32 ? CUDA_R_32F : CUDA_R_16BF; }

int64_t BytesOf(DType dtype) { return static_cast<int64_t>(BlockBytes(dtype)); }

bool IsAligned(const void* data, int64_t stride, DType dtype) {
  return reinterpret_cast<uintptr_t>(data) % kAlignment == 0 &&
         stride * BytesOf(dtype) % kAlignment == 0;
}

}  // namespace

int64_t LibraryProducts::BucketOf(int64_t rows) {
  int64_t bucket = kLeastBucketRows;
  while (bucket < rows) bucket *= 2;
  return bucket;
}

std::optional<DType> LibraryProducts::TypeOfWeights(const DeviceMatrix& w) {
  switch (w.format) {
    case WeightFormat::kF32:
      return DType::kF32;
    case WeightFormat::kBF16:
      return DType::kBF16;
    default:
      // The library multiplies matrices of one type, and inputs are never F16.
      return std::nullopt;
  }
}

int64_t LibraryProductFloats(const WorkspaceLimits& limits) {
  return 2 * limits.local_ffn * std::min(limits.max_tokens, kLibrarySliceRows);
}

// What describes one product to the library, for as long as a call of it takes.
class LibraryProducts::Descriptors {
 public:
  Descriptors(const CublasLtApi& api, const Product& product) : api_(api) {
    // Row-major [rows, inputs] is column-major [inputs, rows]. So the library computes
    // out^T = W x^T, with W as the first factor, which it has to transpose.
    const cudaDataType_t type = TypeOf(product.type);
    const auto transposed = CublasLtOperation::kTransposed;
    Note(api.MatmulDescCreate(&desc_, CublasLtComputeType::kFloat32, CUDA_R_32F));
    if (ok()) {
      Note(api.MatmulDescSetAttribute(desc_, CublasLtDescAttribute::kTransA, &transposed,
                                      sizeof(transposed)));
    }
    const DeviceMatrix& w = *product.w;
    const auto inputs = static_cast<uint64_t>(w.in_features);
    const auto outputs = static_cast<uint64_t>(w.out_features);
    const auto rows = static_cast<uint64_t>(product.rows);
    Note(api.MatrixLayoutCreate(&weights_, type, inputs, outputs, w.row_stride));
    Note(api.MatrixLayoutCreate(&inputs_, type, inputs, rows, w.in_features));
    Note(
        api.MatrixLayoutCreate(&out_, TypeOf(product.out_type), outputs, rows, product.out_stride));
  }
  Descriptors(const Descriptors&) = delete;
  Descriptors& operator=(const Descriptors&) = delete;
  ~Descriptors() {
    if (desc_ != nullptr) api_.MatmulDescDestroy(desc_);
    for (const CublasLtLayout layout : {weights_, inputs_, out_}) {
      if (layout != nullptr) api_.MatrixLayoutDestroy(layout);
    }
    if (preference_ != nullptr) api_.MatmulPreferenceDestroy(preference_);
  }

  // Of the first call that failed.
  CublasLtStatus status() const { return status_; }
  bool ok() const { return status_ == CublasLtStatus::kSuccess; }
  CublasLtDesc desc() const { return desc_; }
  CublasLtLayout weights() const { return weights_; }
  CublasLtLayout inputs() const { return inputs_; }
  CublasLtLayout out() const { return out_; }

  // Null if that failed.
  CublasLtPreference MakePreference() {
    Note(api_.MatmulPreferenceCreate(&preference_));
    if (!ok()) return nullptr;
    using Attribute = CublasLtPreferenceAttribute;
    Prefer(Attribute::kMaxWorkspaceBytes, uint64_t{kLibraryWorkspaceBytes});
    // Other ways to add the parts of a sum round them, or add them in an order of chance.
    Prefer(Attribute::kReductionSchemeMask, kCublasLtReducesInComputeType);
    for (const auto attribute : {Attribute::kMinAlignmentABytes, Attribute::kMinAlignmentBBytes,
                                 Attribute::kMinAlignmentCBytes, Attribute::kMinAlignmentDBytes}) {
      Prefer(attribute, static_cast<uint32_t>(kAlignment));
    }
    return ok() ? preference_ : nullptr;
  }

 private:
  template <typename T>
  void Prefer(CublasLtPreferenceAttribute attribute, T value) {
    Note(api_.MatmulPreferenceSetAttribute(preference_, attribute, &value, sizeof(value)));
  }
  void Note(CublasLtStatus status) {
    if (ok()) status_ = status;
  }

  const CublasLtApi& api_;
  CublasLtStatus status_ = CublasLtStatus::kSuccess;
  CublasLtDesc desc_ = nullptr;
  CublasLtLayout weights_ = nullptr;
  CublasLtLayout inputs_ = nullptr;
  CublasLtLayout out_ = nullptr;
  CublasLtPreference preference_ = nullptr;
};

LibraryProducts::LibraryProducts(const CublasLtApi& api, CublasLtHandle handle, Options options)
    : api_(api),
      handle_(handle),
      options_(std::move(options)),
      device_{options_.device_name, options_.major, options_.minor, api.GetVersion()} {}

LibraryProducts::~LibraryProducts() { api_.Destroy(handle_); }

absl::StatusOr<std::unique_ptr<LibraryProducts>> LibraryProducts::Create(const CublasLtApi& api,
                                                                         Options options) {
  if (absl::Status status = UseDevice(options.device); !status.ok()) return status;
  CublasLtHandle handle = nullptr;
  if (const CublasLtStatus status = api.Create(&handle); status != CublasLtStatus::kSuccess) {
    return absl::InternalError(absl::StrCat("cuBLASLt could not be started: it says \"",
                                            api.GetStatusString(status), "\""));
  }
  return std::unique_ptr<LibraryProducts>(new LibraryProducts(api, handle, std::move(options)));
}

absl::Status LibraryProducts::Failure(CublasLtStatus status, const char* doing) const {
  return absl::InternalError(
      absl::StrCat(doing, ": cuBLASLt says \"", api_.GetStatusString(status), "\""));
}

void LibraryProducts::AddMatrix(const DeviceMatrix& matrix, Role role,
                                std::weak_ptr<const CudaBuffer> memory) {
  if (!TypeOfWeights(matrix).has_value()) return;
  for (Matrix& known : matrices_) {
    const DeviceMatrix& other = known.matrix;
    if (other.in_features != matrix.in_features || other.out_features != matrix.out_features ||
        other.format != matrix.format || known.role != role) {
      continue;
    }
    // One of each shape is enough.
    if (known.memory.expired()) known = {matrix, role, std::move(memory)};
    return;
  }
  matrices_.push_back({matrix, role, std::move(memory)});
}

bool LibraryProducts::Suits(const Tensor& x, const DeviceMatrix& w) const {
  return memory_.workspace != nullptr && x.rows >= options_.least_rows &&
         TypeOfWeights(w) == x.dtype && w.out_features % kOutputsAtOnce == 0 &&
         IsAligned(x.data, x.cols, x.dtype) && IsAligned(w.data, w.row_stride, x.dtype);
}

ProductShape LibraryProducts::ShapeOf(const Product& product) const {
  return {.outputs = product.w->out_features,
          .inputs = product.w->in_features,
          .most_rows = BucketOf(product.rows),
          .in_type = product.type,
          .out_type = product.out_type,
          .adds = product.adds};
}

int64_t LibraryProducts::SliceRows(int64_t rows, int64_t floats_per_row) const {
  const int64_t most = std::min(kLibrarySliceRows, memory_.product_floats / floats_per_row);
  if (most < std::min(rows, options_.least_rows)) return 0;
  const int64_t slices = (rows + most - 1) / most;
  return (rows + slices - 1) / slices;
}

bool LibraryProducts::Multiply(cudaStream_t stream, const Tensor& x, const DeviceMatrix& w,
                               const LinearOutput& out) {
  if (!Suits(x, w) || !IsAligned(out.data, out.row_stride, out.dtype)) return false;
  const int64_t outputs = w.out_features;
  if (out.bias == nullptr) {
    return Run(stream, {.x = x.data,
                        .rows = x.rows,
                        .w = &w,
                        .type = x.dtype,
                        .out = out.data,
                        .out_type = out.dtype,
                        .out_stride = out.row_stride,
                        .adds = out.adds});
  }
  // The library takes a bias of the type of its results only, which loses bits of ours.
  const int64_t slice = out.adds ? 0 : SliceRows(x.rows, outputs);
  if (slice == 0) return false;
  for (int64_t first = 0; first < x.rows; first += slice) {
    const int64_t rows = std::min(slice, x.rows - first);
    if (!Run(stream,
             {.x = static_cast<const std::byte*>(x.data) + first * x.cols * BytesOf(x.dtype),
              .rows = rows,
              .w = &w,
              .type = x.dtype,
              .out = memory_.products,
              .out_stride = outputs})) {
      return false;
    }
    LinearOutput to = out;
    to.data = static_cast<std::byte*>(out.data) + first * out.row_stride * BytesOf(out.dtype);
    LaunchAddBias(stream, memory_.products, rows, outputs, to);
  }
  return true;
}

bool LibraryProducts::MultiplyGated(cudaStream_t stream, const Tensor& x, const DeviceMatrix& gate,
                                    const DeviceMatrix& up, const Tensor& out) {
  if (!Suits(x, gate) || !Suits(x, up) || !IsAligned(out.data, out.cols, out.dtype)) return false;
  const int64_t outputs = gate.out_features;
  const int64_t slice = SliceRows(x.rows, 2 * outputs);
  if (slice == 0) return false;
  for (int64_t first = 0; first < x.rows; first += slice) {
    const int64_t rows = std::min(slice, x.rows - first);
    Product product = {
        .x = static_cast<const std::byte*>(x.data) + first * x.cols * BytesOf(x.dtype),
        .rows = rows,
        .w = &gate,
        .type = x.dtype,
        .out = memory_.products,
        .out_stride = outputs};
    if (!Run(stream, product)) return false;
    float* const up_products = memory_.products + rows * outputs;
    product.w = &up;
    product.out = up_products;
    if (!Run(stream, product)) return false;
    LaunchGate(stream, memory_.products, up_products, rows, outputs,
               static_cast<std::byte*>(out.data) + first * outputs * BytesOf(out.dtype), out.dtype);
  }
  return true;
}

bool LibraryProducts::Run(cudaStream_t stream, const Product& product) {
  const ProductShape shape = ShapeOf(product);
  auto choice = choices_.find(shape);
  if (choice == choices_.end()) {
    const std::vector<CublasLtAlgo> candidates = Candidates(product);
    std::optional<CublasLtAlgo> best;
    if (!candidates.empty()) best = candidates[0];
    choice = choices_.emplace(shape, best).first;
  }
  if (!choice->second.has_value()) return false;
  const absl::Status status = RunBy(*choice->second, stream, product);
  if (!status.ok() && !std::exchange(has_told_of_failure_, true)) {
    options_.log(
        absl::StrCat("a product (", ProductText(shape), ", here with ", product.rows,
                     " rows) is left to our own kernels, as others may be: ", status.message()));
  }
  return status.ok();
}

absl::Status LibraryProducts::RunBy(const CublasLtAlgo& algo, cudaStream_t stream,
                                    const Product& product) {
  const Descriptors descriptors(api_, product);
  if (!descriptors.ok()) return Failure(descriptors.status(), "describing a product");
  const float one = 1.0f;
  const float beta = product.adds ? 1.0f : 0.0f;
  const CublasLtStatus status = api_.Matmul(
      handle_, descriptors.desc(), &one, product.w->data, descriptors.weights(), product.x,
      descriptors.inputs(), &beta, product.out, descriptors.out(), product.out, descriptors.out(),
      &algo, memory_.workspace, kLibraryWorkspaceBytes, stream);
  if (status != CublasLtStatus::kSuccess) return Failure(status, "queueing a product");
  return absl::OkStatus();
}

std::vector<CublasLtAlgo> LibraryProducts::Candidates(const Product& product) {
  Descriptors descriptors(api_, product);
  const CublasLtPreference preference = descriptors.MakePreference();
  std::array<CublasLtHeuristic, kMostCandidates> results;
  int found = 0;
  if (preference == nullptr ||
      api_.MatmulAlgoGetHeuristic(handle_, descriptors.desc(), descriptors.weights(),
                                  descriptors.inputs(), descriptors.out(), descriptors.out(),
                                  preference, kMostCandidates, results.data(),
                                  &found) != CublasLtStatus::kSuccess) {
    return {};
  }
  std::vector<CublasLtAlgo> candidates;
  for (int i = 0; i < std::min(found, kMostCandidates); ++i) {
    if (results[i].state == CublasLtStatus::kSuccess &&
        results[i].workspace_bytes <= kLibraryWorkspaceBytes) {
      candidates.push_back(results[i].algo);
    }
  }
  return candidates;
}

bool LibraryProducts::Accepts(const CublasLtAlgo& algo, const Product& product) {
  const Descriptors descriptors(api_, product);
  CublasLtHeuristic result;
  return descriptors.ok() &&
         api_.MatmulAlgoCheck(handle_, descriptors.desc(), descriptors.weights(),
                              descriptors.inputs(), descriptors.out(), descriptors.out(), &algo,
                              &result) == CublasLtStatus::kSuccess &&
         result.workspace_bytes <= kLibraryWorkspaceBytes;
}

}  // namespace phalanx::kernels::cuda
