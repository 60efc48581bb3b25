// What makes one array of those of all ranks. Every rank computes it itself and in the same order,
// so that all get the same bits: float sums depend on their order.
#ifndef PHALANX_WORKER_COMM_RANK_ORDER_SUM_H_
#define PHALANX_WORKER_COMM_RANK_ORDER_SUM_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "worker/comm/communicator.h"

namespace phalanx {

// What the elements are, and how they are put together.
enum class Reduction : uint8_t {
  kSumF32,
  kSumBF16,   // In float32, rounded once, to the nearest and to even in the middle of two.
  kSumWords,  // Modulo 2^64.
  kMaxWords,
};

// Of Communicator::AllReduceSum. CHECK-fails for types that it does not take.
Reduction SumOf(kernels::DType dtype);
Reduction ReductionOf(WordOp op);

// Of one element: 2, 4 or 8.
size_t ElementBytes(Reduction reduction);

// out[i] = parts[0][i], parts[1][i] and so on in this order, put together. Each part and `out` have
// `count` elements and need not be aligned; `out` may be one of the parts.
void ReduceInRankOrder(Reduction reduction, absl::Span<const std::byte* const> parts, int64_t count,
                       std::byte* out);

}  // namespace phalanx

#endif  // PHALANX_WORKER_COMM_RANK_ORDER_SUM_H_
