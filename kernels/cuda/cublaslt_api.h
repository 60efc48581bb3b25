// NVIDIA's cuBLASLt as far as we call it: a table of functions, filled from the library when a
// program starts or by a stand-in for tests. The declarations are our own, because the package that
// has NVIDIA's header is some hundred MB large; cublaslt_header_test compares the two where the
// header is installed. So a machine without the library can build and run everything else.
//
// What is declared here has been part of cuBLASLt's binary interface, unchanged, since CUDA 12.
#ifndef PHALANX_KERNELS_CUDA_CUBLASLT_API_H_
#define PHALANX_KERNELS_CUDA_CUBLASLT_API_H_

#include <cuda_runtime_api.h>
#include <library_types.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace phalanx::kernels::cuda {

// The version that we need at least, as cublasLtGetVersion tells it.
inline constexpr size_t kMinCublasLtVersion = 120000;

// cublasStatus_t.
enum class CublasLtStatus : int {
  kSuccess = 0,
  kNotInitialized = 1,
  kAllocFailed = 3,
  kInvalidValue = 7,
  kArchMismatch = 8,
  kExecutionFailed = 13,
  kInternalError = 14,
  kNotSupported = 15,
};

// cublasComputeType_t: float32 without rounding the inputs to TF32.
enum class CublasLtComputeType : int { kFloat32 = 68 };

// cublasOperation_t.
enum class CublasLtOperation : int32_t { kNone = 0, kTransposed = 1 };

// cublasLtMatmulDescAttributes_t; the values are a CublasLtOperation.
enum class CublasLtDescAttribute : int { kTransA = 3, kTransB = 4 };

// cublasLtMatmulPreferenceAttributes_t. The first is a uint64_t, the others are a uint32_t.
enum class CublasLtPreferenceAttribute : int {
  kMaxWorkspaceBytes = 1,
  kReductionSchemeMask = 3,
  kMinAlignmentABytes = 5,
  kMinAlignmentBBytes = 6,
  kMinAlignmentCBytes = 7,
  kMinAlignmentDBytes = 8,
};

// Of cublasLtReductionScheme_t: the parts of a sum are kept in float32 and added afterwards.
inline constexpr uint32_t kCublasLtReducesInComputeType = 2;

// cublasLtMatmulAlgo_t. Its bytes may be kept and given to the same version of the library again.
struct CublasLtAlgo {
  uint64_t data[8] = {};
};

// cublasLtMatmulHeuristicResult_t.
struct CublasLtHeuristic {
  CublasLtAlgo algo;
  size_t workspace_bytes = 0;
  CublasLtStatus state = CublasLtStatus::kSuccess;
  float waves = 0.0f;
  int reserved[4] = {};
};
static_assert(sizeof(CublasLtHeuristic) == 96 && offsetof(CublasLtHeuristic, state) == 72);

// cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t and cublasLtMatmulPreference_t.
using CublasLtHandle = struct CublasLtHandleState*;
using CublasLtDesc = struct CublasLtDescState*;
using CublasLtLayout = struct CublasLtLayoutState*;
using CublasLtPreference = struct CublasLtPreferenceState*;

// The functions. A member is called as its function, without "cublasLt", and does what NVIDIA's
// documentation says of it. Matrices are column-major, and all calls but Matmul are of the host
// alone.
struct CublasLtApi {
  size_t (*GetVersion)() = nullptr;
  const char* (*GetStatusString)(CublasLtStatus status) = nullptr;
  CublasLtStatus (*Create)(CublasLtHandle* handle) = nullptr;
  CublasLtStatus (*Destroy)(CublasLtHandle handle) = nullptr;
  CublasLtStatus (*MatmulDescCreate)(CublasLtDesc* desc, CublasLtComputeType compute,
                                     cudaDataType_t scale) = nullptr;
  CublasLtStatus (*MatmulDescDestroy)(CublasLtDesc desc) = nullptr;
  CublasLtStatus (*MatmulDescSetAttribute)(CublasLtDesc desc, CublasLtDescAttribute attribute,
                                           const void* value, size_t bytes) = nullptr;
  CublasLtStatus (*MatrixLayoutCreate)(CublasLtLayout* layout, cudaDataType_t type, uint64_t rows,
                                       uint64_t cols, int64_t leading_dimension) = nullptr;
  CublasLtStatus (*MatrixLayoutDestroy)(CublasLtLayout layout) = nullptr;
  CublasLtStatus (*MatmulPreferenceCreate)(CublasLtPreference* preference) = nullptr;
  CublasLtStatus (*MatmulPreferenceDestroy)(CublasLtPreference preference) = nullptr;
  CublasLtStatus (*MatmulPreferenceSetAttribute)(CublasLtPreference preference,
                                                 CublasLtPreferenceAttribute attribute,
                                                 const void* value, size_t bytes) = nullptr;
  CublasLtStatus (*MatmulAlgoGetHeuristic)(CublasLtHandle handle, CublasLtDesc desc,
                                           CublasLtLayout a, CublasLtLayout b, CublasLtLayout c,
                                           CublasLtLayout d, CublasLtPreference preference,
                                           int wanted, CublasLtHeuristic* results,
                                           int* found) = nullptr;
  CublasLtStatus (*MatmulAlgoCheck)(CublasLtHandle handle, CublasLtDesc desc, CublasLtLayout a,
                                    CublasLtLayout b, CublasLtLayout c, CublasLtLayout d,
                                    const CublasLtAlgo* algo, CublasLtHeuristic* result) = nullptr;
  CublasLtStatus (*Matmul)(CublasLtHandle handle, CublasLtDesc desc, const void* alpha,
                           const void* a, CublasLtLayout a_layout, const void* b,
                           CublasLtLayout b_layout, const void* beta, const void* c,
                           CublasLtLayout c_layout, void* d, CublasLtLayout d_layout,
                           const CublasLtAlgo* algo, void* workspace, size_t workspace_bytes,
                           cudaStream_t stream) = nullptr;
};

// Loads cuBLASLt: the file that the environment variable PHALANX_CUBLASLT names, or else
// libcublasLt.so.13 or libcublasLt.so.12 from where the system looks for libraries. It stays loaded
// until the process ends. NOT_FOUND if it cannot be loaded, saying what was looked for, where, and
// how to get it; FAILED_PRECONDITION if it is older than kMinCublasLtVersion or lacks a function.
absl::StatusOr<CublasLtApi> LoadCublasLt();

// For example "13.1.0".
std::string CublasLtVersionText(size_t version);

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_CUBLASLT_API_H_
