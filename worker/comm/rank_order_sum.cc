#include "worker/comm/rank_order_sum.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/log.h"

namespace phalanx {
namespace {

// As many elements are put together at a time, so that `out` may be one of the parts: it is written
// when all parts of these elements have been read. Small enough for the first cache.
constexpr int64_t kTile = 1024;

float ToFloat(uint16_t bfloat16) { return std::bit_cast<float>(uint32_t{bfloat16} << 16); }

// To the nearest, and to the even one of two that are equally near. NaN and infinities that sums of
// bfloat16 make have zeros in the lower half, and so stay what they are.
uint16_t RoundToBFloat16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// Through memcpy, because the parts need not be aligned.
template <typename T>
T Load(const std::byte* from, int64_t i) {
  T value;
  std::memcpy(&value, from + i * sizeof(T), sizeof(T));
  return value;
}

template <typename T>
void Store(T value, std::byte* to, int64_t i) {
  std::memcpy(to + i * sizeof(T), &value, sizeof(T));
}

struct SumF32 {
  using Element = float;
  using Accumulator = float;
  static float Widen(float value) { return value; }
  static float Narrow(float value) { return value; }
  static float Combine(float a, float b) { return a + b; }
};

struct SumBF16 {
  using Element = uint16_t;
  using Accumulator = float;
  static float Widen(uint16_t value) { return ToFloat(value); }
  static uint16_t Narrow(float value) { return RoundToBFloat16(value); }
  static float Combine(float a, float b) { return a + b; }
};

struct Words {
  using Element = uint64_t;
  using Accumulator = uint64_t;
  static uint64_t Widen(uint64_t value) { return value; }
  static uint64_t Narrow(uint64_t value) { return value; }
};

struct SumWords : Words {
  static uint64_t Combine(uint64_t a, uint64_t b) { return a + b; }
};

struct MaxWords : Words {
  static uint64_t Combine(uint64_t a, uint64_t b) { return std::max(a, b); }
};

// Two ranks share one loop: that is all there is to do for most groups. Each element is read before
// it is written, so `out` may be one of the two.
template <typename Op>
void ReducePair(const std::byte* a, const std::byte* b, int64_t count, std::byte* out) {
  using T = typename Op::Element;
  for (int64_t i = 0; i < count; ++i) {
    Store<T>(Op::Narrow(Op::Combine(Op::Widen(Load<T>(a, i)), Op::Widen(Load<T>(b, i)))), out, i);
  }
}

template <typename Op>
void ReduceAll(absl::Span<const std::byte* const> parts, int64_t count, std::byte* out) {
  using T = typename Op::Element;
  if (parts.size() == 2) return ReducePair<Op>(parts[0], parts[1], count, out);
  typename Op::Accumulator sums[kTile];
  for (int64_t begin = 0; begin < count; begin += kTile) {
    const int64_t tile = std::min(kTile, count - begin);
    const size_t offset = begin * sizeof(T);
    for (int64_t i = 0; i < tile; ++i) sums[i] = Op::Widen(Load<T>(parts[0] + offset, i));
    for (const std::byte* const part : parts.subspan(1)) {
      for (int64_t i = 0; i < tile; ++i) {
        sums[i] = Op::Combine(sums[i], Op::Widen(Load<T>(part + offset, i)));
      }
    }
    for (int64_t i = 0; i < tile; ++i) Store<T>(Op::Narrow(sums[i]), out + offset, i);
  }
}

}  // namespace

Reduction SumOf(kernels::DType dtype) {
  CHECK(dtype == kernels::DType::kF32 || dtype == kernels::DType::kBF16)
      << kernels::DTypeName(dtype);
  return dtype == kernels::DType::kF32 ? Reduction::kSumF32 : Reduction::kSumBF16;
}

Reduction ReductionOf(WordOp op) {
  return op == WordOp::kSum ? Reduction::kSumWords : Reduction::kMaxWords;
}

size_t ElementBytes(Reduction reduction) {
  if (reduction == Reduction::kSumF32) return sizeof(float);
  return reduction == Reduction::kSumBF16 ? sizeof(uint16_t) : sizeof(uint64_t);
}

void ReduceInRankOrder(Reduction reduction, absl::Span<const std::byte* const> parts, int64_t count,
                       std::byte* out) {
  switch (reduction) {
    case Reduction::kSumF32:
      return ReduceAll<SumF32>(parts, count, out);
    case Reduction::kSumBF16:
      return ReduceAll<SumBF16>(parts, count, out);
    case Reduction::kSumWords:
      return ReduceAll<SumWords>(parts, count, out);
    case Reduction::kMaxWords:
      return ReduceAll<MaxWords>(parts, count, out);
  }
}

}  // namespace phalanx
