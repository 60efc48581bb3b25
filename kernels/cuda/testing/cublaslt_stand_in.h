// A stand-in for cuBLASLt, for tests on the emulator of kernels/cuda. It computes what was asked
// for, in column-major order, when the stream comes to it, and may be recorded.
//
// It is as unhelpful as the library. It thinks of several algorithms, of which some need more
// workspace than may be there, better alignment, or ways of adding that a caller may forbid; one is
// reported as impossible, and one fails when it is called. What a description leaves wrong is
// kInvalidValue, and what no algorithm can do is kNotSupported.
#ifndef PHALANX_KERNELS_CUDA_TESTING_CUBLASLT_STAND_IN_H_
#define PHALANX_KERNELS_CUDA_TESTING_CUBLASLT_STAND_IN_H_

#include <cstddef>

#include "kernels/cuda/cublaslt_api.h"

namespace phalanx::kernels::cuda {

// The algorithms in the order in which MatmulAlgoGetHeuristic returns them.
enum class StandInAlgo {
  kAligned,         // Pointers at multiples of 64 bytes.
  kLargeWorkspace,  // 64 MiB.
  kRoundedParts,    // Parts of sums are rounded to the type of the result.
  kSplit,           // Four parts of each sum, in the workspace.
  kImpossible,      // Returned with a state that says so.
  kFails,           // Matmul fails.
  kSimple,
};

// The functions. Tests may replace some in a copy.
const CublasLtApi& CublasLtStandIn();

// The algorithm that a descriptor stands for.
StandInAlgo StandInAlgoOf(const CublasLtAlgo& algo);

// How many products were queued by this process, or recorded, and by which algorithm the last one.
int NumStandInProducts();
StandInAlgo LastStandInAlgo();

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_TESTING_CUBLASLT_STAND_IN_H_
