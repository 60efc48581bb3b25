#include "kernels/cuda/testing/cublaslt_stand_in.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <utility>

#include "kernels/bfloat16.h"
#include "kernels/cuda/testing/emulator.h"
#include "kernels/dequantize.h"

namespace phalanx::kernels::cuda {

// What the API leaves open.
struct CublasLtHandleState {};

struct CublasLtDescState {
  cudaDataType_t scale = CUDA_R_32F;
  CublasLtOperation a = CublasLtOperation::kNone;
  CublasLtOperation b = CublasLtOperation::kNone;
};

struct CublasLtLayoutState {
  cudaDataType_t type = CUDA_R_32F;
  uint64_t rows = 0;
  uint64_t cols = 0;
  int64_t leading_dimension = 0;

  bool operator==(const CublasLtLayoutState&) const = default;
};

// With the library's defaults.
struct CublasLtPreferenceState {
  uint64_t workspace_bytes = 0;
  uint32_t reduction_schemes = 7;
  std::array<uint32_t, 4> alignment = {256, 256, 256, 256};
};

namespace {

using Status = CublasLtStatus;

constexpr uint64_t kMagic = 0x5354414e44494e21;
constexpr uint32_t kNeededAlignment = 64;
constexpr uint64_t kLargeWorkspaceBytes = uint64_t{64} << 20;
constexpr uint32_t kReducesInOutputType = 4;
constexpr uint64_t kParts = 4;
constexpr StandInAlgo kAlgos[] = {StandInAlgo::kAligned,      StandInAlgo::kLargeWorkspace,
                                  StandInAlgo::kRoundedParts, StandInAlgo::kSplit,
                                  StandInAlgo::kImpossible,   StandInAlgo::kFails,
                                  StandInAlgo::kSimple};

std::atomic<int> g_products = 0;
std::atomic<StandInAlgo> g_last = StandInAlgo::kSimple;

float Read(const void* data, cudaDataType_t type, int64_t at) {
  return type == CUDA_R_32F ? static_cast<const float*>(data)[at]
                            : BFloat16ToFloat(static_cast<const uint16_t*>(data)[at]);
}

void Write(void* data, cudaDataType_t type, int64_t at, float value) {
  if (type == CUDA_R_32F) {
    static_cast<float*>(data)[at] = value;
  } else {
    static_cast<uint16_t*>(data)[at] = FloatToBFloat16(value);
  }
}

// The sizes of a product: d [m, n] = op(a) [m, k] op(b) [k, n].
struct Sizes {
  uint64_t m = 0;
  uint64_t n = 0;
  uint64_t k = 0;
};

uint64_t RowsOf(const CublasLtLayoutState& layout, CublasLtOperation op) {
  return op == CublasLtOperation::kNone ? layout.rows : layout.cols;
}
uint64_t ColsOf(const CublasLtLayoutState& layout, CublasLtOperation op) {
  return op == CublasLtOperation::kNone ? layout.cols : layout.rows;
}

// What is wrong with a description, whatever the algorithm.
Status Check(CublasLtHandle handle, CublasLtDesc desc, CublasLtLayout a, CublasLtLayout b,
             CublasLtLayout c, CublasLtLayout d, Sizes* sizes) {
  if (handle == nullptr) return Status::kNotInitialized;
  if (desc == nullptr) return Status::kInvalidValue;
  for (const CublasLtLayout layout : {a, b, c, d}) {
    if (layout == nullptr || layout->rows == 0 || layout->cols == 0 ||
        layout->leading_dimension < static_cast<int64_t>(layout->rows)) {
      return Status::kInvalidValue;
    }
  }
  *sizes = {.m = RowsOf(*a, desc->a), .n = ColsOf(*b, desc->b), .k = ColsOf(*a, desc->a)};
  if (sizes->k != RowsOf(*b, desc->b) || d->rows != sizes->m || d->cols != sizes->n ||
      c->rows != d->rows || c->cols != d->cols) {
    return Status::kInvalidValue;
  }
  const bool known = (a->type == CUDA_R_32F && d->type == CUDA_R_32F) ||
                     (a->type == CUDA_R_16BF && (d->type == CUDA_R_16BF || d->type == CUDA_R_32F));
  if (!known || a->type != b->type || c->type != d->type || desc->scale != CUDA_R_32F) {
    return Status::kNotSupported;
  }
  return Status::kSuccess;
}

uint64_t WorkspaceOf(StandInAlgo algo, const Sizes& sizes) {
  switch (algo) {
    case StandInAlgo::kLargeWorkspace:
      return kLargeWorkspaceBytes;
    case StandInAlgo::kSplit:
      return kParts * sizes.m * sizes.n * sizeof(float);
    default:
      return 0;
  }
}

bool IsWanted(StandInAlgo algo, const CublasLtPreferenceState& preference, const Sizes& sizes) {
  if (WorkspaceOf(algo, sizes) > preference.workspace_bytes) return false;
  if (algo == StandInAlgo::kRoundedParts) {
    return (preference.reduction_schemes & kReducesInOutputType) != 0;
  }
  if (algo == StandInAlgo::kSplit) {
    return (preference.reduction_schemes & kCublasLtReducesInComputeType) != 0;
  }
  return algo != StandInAlgo::kAligned ||
         std::all_of(preference.alignment.begin(), preference.alignment.end(),
                     [](uint32_t bytes) { return bytes >= kNeededAlignment; });
}

// False for bytes that are no algorithm.
bool ReadAlgo(const CublasLtAlgo& algo, StandInAlgo* result) {
  if (algo.data[0] != kMagic || algo.data[1] >= std::size(kAlgos)) return false;
  *result = static_cast<StandInAlgo>(algo.data[1]);
  return true;
}

// --- The functions ---

size_t GetVersion() { return 130100; }
const char* GetStatusString(Status status) { return "the stand-in's words"; }

Status Create(CublasLtHandle* handle) {
  *handle = new CublasLtHandleState;
  return Status::kSuccess;
}
Status Destroy(CublasLtHandle handle) {
  delete handle;
  return Status::kSuccess;
}

Status MatmulDescCreate(CublasLtDesc* desc, CublasLtComputeType compute, cudaDataType_t scale) {
  if (compute != CublasLtComputeType::kFloat32) return Status::kNotSupported;
  *desc = new CublasLtDescState{.scale = scale};
  return Status::kSuccess;
}
Status MatmulDescDestroy(CublasLtDesc desc) {
  delete desc;
  return Status::kSuccess;
}
Status MatmulDescSetAttribute(CublasLtDesc desc, CublasLtDescAttribute attribute, const void* value,
                              size_t bytes) {
  if (bytes != sizeof(CublasLtOperation)) return Status::kInvalidValue;
  std::memcpy(attribute == CublasLtDescAttribute::kTransA ? &desc->a : &desc->b, value, bytes);
  return Status::kSuccess;
}

Status MatrixLayoutCreate(CublasLtLayout* layout, cudaDataType_t type, uint64_t rows, uint64_t cols,
                          int64_t leading_dimension) {
  *layout = new CublasLtLayoutState{type, rows, cols, leading_dimension};
  return Status::kSuccess;
}
Status MatrixLayoutDestroy(CublasLtLayout layout) {
  delete layout;
  return Status::kSuccess;
}

Status MatmulPreferenceCreate(CublasLtPreference* preference) {
  *preference = new CublasLtPreferenceState;
  return Status::kSuccess;
}
Status MatmulPreferenceDestroy(CublasLtPreference preference) {
  delete preference;
  return Status::kSuccess;
}
Status MatmulPreferenceSetAttribute(CublasLtPreference preference,
                                    CublasLtPreferenceAttribute attribute, const void* value,
                                    size_t bytes) {
  using Attribute = CublasLtPreferenceAttribute;
  void* to = nullptr;
  size_t expected = sizeof(uint32_t);
  if (attribute == Attribute::kMaxWorkspaceBytes) {
    to = &preference->workspace_bytes;
    expected = sizeof(uint64_t);
  } else if (attribute == Attribute::kReductionSchemeMask) {
    to = &preference->reduction_schemes;
  } else {
    const int matrix =
        static_cast<int>(attribute) - static_cast<int>(Attribute::kMinAlignmentABytes);
    to = &preference->alignment.at(static_cast<size_t>(matrix));
  }
  if (bytes != expected) return Status::kInvalidValue;
  std::memcpy(to, value, bytes);
  return Status::kSuccess;
}

Status MatmulAlgoGetHeuristic(CublasLtHandle handle, CublasLtDesc desc, CublasLtLayout a,
                              CublasLtLayout b, CublasLtLayout c, CublasLtLayout d,
                              CublasLtPreference preference, int wanted, CublasLtHeuristic* results,
                              int* found) {
  if (wanted < 1) return Status::kInvalidValue;
  Sizes sizes;
  if (const Status status = Check(handle, desc, a, b, c, d, &sizes); status != Status::kSuccess) {
    return status;
  }
  *found = 0;
  for (const StandInAlgo algo : kAlgos) {
    if (*found == wanted || !IsWanted(algo, *preference, sizes)) continue;
    CublasLtHeuristic& result = results[(*found)++];
    result = {};
    result.algo.data[0] = kMagic;
    result.algo.data[1] = static_cast<uint64_t>(algo);
    result.workspace_bytes = WorkspaceOf(algo, sizes);
    if (algo == StandInAlgo::kImpossible) result.state = Status::kNotSupported;
  }
  return *found == 0 ? Status::kNotSupported : Status::kSuccess;
}

Status MatmulAlgoCheck(CublasLtHandle handle, CublasLtDesc desc, CublasLtLayout a, CublasLtLayout b,
                       CublasLtLayout c, CublasLtLayout d, const CublasLtAlgo* algo,
                       CublasLtHeuristic* result) {
  Sizes sizes;
  if (const Status status = Check(handle, desc, a, b, c, d, &sizes); status != Status::kSuccess) {
    return status;
  }
  StandInAlgo number;
  if (!ReadAlgo(*algo, &number)) return Status::kInvalidValue;
  if (number == StandInAlgo::kImpossible) return Status::kNotSupported;
  result->workspace_bytes = WorkspaceOf(number, sizes);
  return Status::kSuccess;
}

// A product that was queued: all that the caller may change or free is copied.
struct Job {
  CublasLtDescState desc;
  CublasLtLayoutState a_layout, b_layout, c_layout, d_layout;
  const void* a = nullptr;
  const void* b = nullptr;
  const void* c = nullptr;
  void* d = nullptr;
  float alpha = 1.0f;
  float beta = 0.0f;
  Sizes sizes;
  // Of kSplit, else null.
  float* workspace = nullptr;
};

int64_t Index(const CublasLtLayoutState& layout, uint64_t row, uint64_t col) {
  return static_cast<int64_t>(col) * layout.leading_dimension + static_cast<int64_t>(row);
}

float FactorAt(const void* data, const CublasLtLayoutState& layout, CublasLtOperation op,
               uint64_t row, uint64_t col) {
  if (op == CublasLtOperation::kTransposed) std::swap(row, col);
  return Read(data, layout.type, Index(layout, row, col));
}

// The sum over inputs [begin, end) of element (row, col).
float PartOf(const Job& job, uint64_t row, uint64_t col, uint64_t begin, uint64_t end) {
  float sum = 0;
  for (uint64_t l = begin; l < end; ++l) {
    sum += FactorAt(job.a, job.a_layout, job.desc.a, row, l) *
           FactorAt(job.b, job.b_layout, job.desc.b, l, col);
  }
  return sum;
}

float SumOf(const Job& job, uint64_t row, uint64_t col) {
  const uint64_t k = job.sizes.k;
  if (job.workspace == nullptr) return PartOf(job, row, col, 0, k);
  float* const parts = job.workspace + (col * job.sizes.m + row) * kParts;
  for (uint64_t i = 0; i < kParts; ++i) {
    parts[i] = PartOf(job, row, col, k * i / kParts, k * (i + 1) / kParts);
  }
  float sum = 0;
  for (uint64_t i = 0; i < kParts; ++i) sum += parts[i];
  return sum;
}

void RunJob(const Job& job) {
  for (uint64_t col = 0; col < job.sizes.n; ++col) {
    for (uint64_t row = 0; row < job.sizes.m; ++row) {
      float value = job.alpha * SumOf(job, row, col);
      // With beta 0, what is there is not read: it may be anything.
      if (job.beta != 0.0f) {
        value += job.beta * Read(job.c, job.c_layout.type, Index(job.c_layout, row, col));
      }
      Write(job.d, job.d_layout.type, Index(job.d_layout, row, col), value);
    }
  }
}

Status Matmul(CublasLtHandle handle, CublasLtDesc desc, const void* alpha, const void* a,
              CublasLtLayout a_layout, const void* b, CublasLtLayout b_layout, const void* beta,
              const void* c, CublasLtLayout c_layout, void* d, CublasLtLayout d_layout,
              const CublasLtAlgo* algo, void* workspace, size_t workspace_bytes,
              cudaStream_t stream) {
  Sizes sizes;
  if (const Status status = Check(handle, desc, a_layout, b_layout, c_layout, d_layout, &sizes);
      status != Status::kSuccess) {
    return status;
  }
  // The library may choose for itself; callers here never want that.
  StandInAlgo number;
  if (algo == nullptr || !ReadAlgo(*algo, &number)) return Status::kInvalidValue;
  const uint64_t needed = WorkspaceOf(number, sizes);
  if (needed > workspace_bytes || (needed > 0 && workspace == nullptr)) {
    return Status::kInvalidValue;
  }
  const uint32_t alignment = number == StandInAlgo::kAligned ? kNeededAlignment : 16;
  for (const void* const data : {a, b, c, static_cast<const void*>(d)}) {
    if (reinterpret_cast<uintptr_t>(data) % alignment != 0) return Status::kInvalidValue;
  }
  if (number == StandInAlgo::kImpossible) return Status::kNotSupported;
  if (number == StandInAlgo::kFails) return Status::kExecutionFailed;
  Job job = {.desc = *desc,
             .a_layout = *a_layout,
             .b_layout = *b_layout,
             .c_layout = *c_layout,
             .d_layout = *d_layout,
             .a = a,
             .b = b,
             .c = c,
             .d = d,
             .alpha = *static_cast<const float*>(alpha),
             .beta = *static_cast<const float*>(beta),
             .sizes = sizes};
  if (number == StandInAlgo::kSplit) job.workspace = static_cast<float*>(workspace);
  ++g_products;
  g_last = number;
  emulator::Enqueue(stream, [job] { RunJob(job); });
  return Status::kSuccess;
}

}  // namespace

const CublasLtApi& CublasLtStandIn() {
  static const CublasLtApi api = {.GetVersion = GetVersion,
                                  .GetStatusString = GetStatusString,
                                  .Create = Create,
                                  .Destroy = Destroy,
                                  .MatmulDescCreate = MatmulDescCreate,
                                  .MatmulDescDestroy = MatmulDescDestroy,
                                  .MatmulDescSetAttribute = MatmulDescSetAttribute,
                                  .MatrixLayoutCreate = MatrixLayoutCreate,
                                  .MatrixLayoutDestroy = MatrixLayoutDestroy,
                                  .MatmulPreferenceCreate = MatmulPreferenceCreate,
                                  .MatmulPreferenceDestroy = MatmulPreferenceDestroy,
                                  .MatmulPreferenceSetAttribute = MatmulPreferenceSetAttribute,
                                  .MatmulAlgoGetHeuristic = MatmulAlgoGetHeuristic,
                                  .MatmulAlgoCheck = MatmulAlgoCheck,
                                  .Matmul = Matmul};
  return api;
}

StandInAlgo StandInAlgoOf(const CublasLtAlgo& algo) {
  StandInAlgo number = StandInAlgo::kImpossible;
  ReadAlgo(algo, &number);
  return number;
}

int NumStandInProducts() { return g_products; }
StandInAlgo LastStandInAlgo() { return g_last; }

}  // namespace phalanx::kernels::cuda
