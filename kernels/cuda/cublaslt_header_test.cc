// Our declarations of cuBLASLt against NVIDIA's header, where that is installed.
#include "gtest/gtest.h"
#include "kernels/cuda/cublaslt_api.h"

#if __has_include(<cublasLt.h>)
#include <cublasLt.h>

#include <type_traits>

namespace phalanx::kernels::cuda {
namespace {

template <typename Ours, typename Theirs>
constexpr bool Same(Ours ours, Theirs theirs) {
  return sizeof(Ours) == sizeof(Theirs) &&
         static_cast<int64_t>(ours) == static_cast<int64_t>(theirs);
}

static_assert(Same(CublasLtStatus::kSuccess, CUBLAS_STATUS_SUCCESS));
static_assert(Same(CublasLtStatus::kNotInitialized, CUBLAS_STATUS_NOT_INITIALIZED));
static_assert(Same(CublasLtStatus::kAllocFailed, CUBLAS_STATUS_ALLOC_FAILED));
static_assert(Same(CublasLtStatus::kInvalidValue, CUBLAS_STATUS_INVALID_VALUE));
static_assert(Same(CublasLtStatus::kArchMismatch, CUBLAS_STATUS_ARCH_MISMATCH));
static_assert(Same(CublasLtStatus::kExecutionFailed, CUBLAS_STATUS_EXECUTION_FAILED));
static_assert(Same(CublasLtStatus::kInternalError, CUBLAS_STATUS_INTERNAL_ERROR));
static_assert(Same(CublasLtStatus::kNotSupported, CUBLAS_STATUS_NOT_SUPPORTED));

static_assert(Same(CublasLtComputeType::kFloat32, CUBLAS_COMPUTE_32F));
static_assert(Same(CublasLtOperation::kNone, CUBLAS_OP_N));
static_assert(Same(CublasLtOperation::kTransposed, CUBLAS_OP_T));
static_assert(Same(CublasLtDescAttribute::kTransA, CUBLASLT_MATMUL_DESC_TRANSA));
static_assert(Same(CublasLtDescAttribute::kTransB, CUBLASLT_MATMUL_DESC_TRANSB));

using Preference = CublasLtPreferenceAttribute;
static_assert(Same(Preference::kMaxWorkspaceBytes, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES));
static_assert(Same(Preference::kReductionSchemeMask, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK));
static_assert(Same(Preference::kMinAlignmentABytes, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES));
static_assert(Same(Preference::kMinAlignmentBBytes, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES));
static_assert(Same(Preference::kMinAlignmentCBytes, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES));
static_assert(Same(Preference::kMinAlignmentDBytes, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES));
static_assert(kCublasLtReducesInComputeType == CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);

static_assert(sizeof(CublasLtAlgo) == sizeof(cublasLtMatmulAlgo_t));
static_assert(sizeof(CublasLtHeuristic) == sizeof(cublasLtMatmulHeuristicResult_t));
static_assert(offsetof(CublasLtHeuristic, workspace_bytes) ==
              offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize));
static_assert(offsetof(CublasLtHeuristic, state) ==
              offsetof(cublasLtMatmulHeuristicResult_t, state));
static_assert(offsetof(CublasLtHeuristic, waves) ==
              offsetof(cublasLtMatmulHeuristicResult_t, wavesCount));

// NVIDIA's types as ours, so that whole functions can be compared.
template <typename T>
struct Ours {
  using Type = T;
};
template <typename T>
using OursOf = typename Ours<T>::Type;
#define PHALANX_OURS(theirs, ours) \
  template <>                      \
  struct Ours<theirs> {            \
    using Type = ours;             \
  }
PHALANX_OURS(cublasStatus_t, CublasLtStatus);
PHALANX_OURS(cublasComputeType_t, CublasLtComputeType);
PHALANX_OURS(cublasLtMatmulDescAttributes_t, CublasLtDescAttribute);
PHALANX_OURS(cublasLtMatmulPreferenceAttributes_t, CublasLtPreferenceAttribute);
PHALANX_OURS(cublasLtHandle_t, CublasLtHandle);
PHALANX_OURS(cublasLtHandle_t*, CublasLtHandle*);
PHALANX_OURS(cublasLtMatmulDesc_t, CublasLtDesc);
PHALANX_OURS(cublasLtMatmulDesc_t*, CublasLtDesc*);
PHALANX_OURS(cublasLtMatrixLayout_t, CublasLtLayout);
PHALANX_OURS(cublasLtMatrixLayout_t*, CublasLtLayout*);
PHALANX_OURS(cublasLtMatmulPreference_t, CublasLtPreference);
PHALANX_OURS(cublasLtMatmulPreference_t*, CublasLtPreference*);
PHALANX_OURS(const cublasLtMatmulAlgo_t*, const CublasLtAlgo*);
PHALANX_OURS(cublasLtMatmulHeuristicResult_t*, CublasLtHeuristic*);
#undef PHALANX_OURS

template <typename Result, typename... Params>
constexpr auto AsOurs(Result (*)(Params...)) -> OursOf<Result> (*)(OursOf<Params>...) {
  return nullptr;
}

#define PHALANX_SAME_FUNCTION(name) \
  static_assert(std::is_same_v<decltype(CublasLtApi::name), decltype(AsOurs(&cublasLt##name))>)
PHALANX_SAME_FUNCTION(GetVersion);
PHALANX_SAME_FUNCTION(GetStatusString);
PHALANX_SAME_FUNCTION(Create);
PHALANX_SAME_FUNCTION(Destroy);
PHALANX_SAME_FUNCTION(MatmulDescCreate);
PHALANX_SAME_FUNCTION(MatmulDescDestroy);
PHALANX_SAME_FUNCTION(MatmulDescSetAttribute);
PHALANX_SAME_FUNCTION(MatrixLayoutCreate);
PHALANX_SAME_FUNCTION(MatrixLayoutDestroy);
PHALANX_SAME_FUNCTION(MatmulPreferenceCreate);
PHALANX_SAME_FUNCTION(MatmulPreferenceDestroy);
PHALANX_SAME_FUNCTION(MatmulPreferenceSetAttribute);
PHALANX_SAME_FUNCTION(MatmulAlgoGetHeuristic);
PHALANX_SAME_FUNCTION(MatmulAlgoCheck);
PHALANX_SAME_FUNCTION(Matmul);

TEST(CublasLtHeaderTest, SaysWhatWeDeclare) { SUCCEED() << "it compiled"; }

}  // namespace
}  // namespace phalanx::kernels::cuda

#else

TEST(CublasLtHeaderTest, SaysWhatWeDeclare) {
  GTEST_SKIP() << "cublasLt.h is not among the headers of this CUDA toolkit";
}

#endif
