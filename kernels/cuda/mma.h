// The tensor cores' product of small tiles, and copies to shared memory that the threads do not
// wait for. Only for kernel sources.
#ifndef PHALANX_KERNELS_CUDA_MMA_H_
#define PHALANX_KERNELS_CUDA_MMA_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/cuda/device.h"
#include "kernels/cuda/numbers.h"

namespace phalanx::kernels::cuda {

// Two bfloat16 numbers in a word, the first one in the lower half.
__device__ __forceinline__ uint32_t PackBFloat16(float first, float second) {
#if !defined(__CUDACC__) || (defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800)
  return FromFloat<BFloat16>(first).bits | uint32_t{FromFloat<BFloat16>(second).bits} << 16;
#else
  uint32_t result;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(second), "f"(first));
  return result;
#endif
}

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
// MultiplyTiles for tensor cores that know no bfloat16: the same sums by shuffles, slowly. A call
// of its own, since each kernel would have hundreds of copies.
__device__ __noinline__ inline float4 MultiplyTilesByShuffles(uint4 a, uint2 b, float4 sums) {
  const int lane = static_cast<int>(threadIdx.x % kWarpSize);
  const int row = lane / 4;
#pragma unroll 1
  for (int k = 0; k < 16; ++k) {
    const int pair = k % 8 / 2;
    const int shift = k % 2 * 16;
    const auto number = [shift](uint32_t word) {
      return ToFloat(BFloat16{static_cast<uint16_t>(word >> shift)});
    };
    const float low = number(__shfl_sync(kAllLanes, k < 8 ? a.x : a.z, row * 4 + pair));
    const float high = number(__shfl_sync(kAllLanes, k < 8 ? a.y : a.w, row * 4 + pair));
    const uint32_t right = k < 8 ? b.x : b.y;
    const float first = number(__shfl_sync(kAllLanes, right, lane % 4 * 8 + pair));
    const float second = number(__shfl_sync(kAllLanes, right, lane % 4 * 8 + 4 + pair));
    sums.x = fmaf(low, first, sums.x);
    sums.y = fmaf(low, second, sums.y);
    sums.z = fmaf(high, first, sums.z);
    sums.w = fmaf(high, second, sums.w);
  }
  return sums;
}
#endif

// sums += A B, for A of 16 x 16 and B of 16 x 8 bfloat16 numbers, sums of 16 x 8 float32. All lanes
// of a warp call it. Lane 4 g + t has, with (row, column):
//   a[0]     A (g, 2t) and (g, 2t + 1)         b[0]  B (2t, g) and (2t + 1, g)
//   a[1]     A (g + 8, 2t) and on              b[1]  B (2t + 8, g) and (2t + 9, g)
//   a[2, 3]  as a[0, 1], 8 columns further     sums[0, 1]  (g, 2t), (g, 2t + 1)
//                                              sums[2, 3]  (g + 8, 2t), (g + 8, 2t + 1)
// Source: PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type".
__device__ __forceinline__ void MultiplyTiles(const uint32_t (&a)[4], const uint32_t (&b)[2],
                                              float (&sums)[4]) {
#ifndef __CUDACC__
  const uint32_t words[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
  const std::byte* const all = emulator::ExchangeAll(kAllLanes, words, sizeof(words));
  // Word `word` of lane `lane`: the number in its lower or upper half.
  const auto number = [&](int lane, int word, int half) {
    uint16_t bits;
    std::memcpy(&bits, all + lane * emulator::kExchangeBytes + word * 4 + half * 2, 2);
    return ToFloat(BFloat16{bits});
  };
  const int lane = static_cast<int>(emulator::Lane());
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4;
    const int column = lane % 4 * 2 + i % 2;
    for (int k = 0; k < 16; ++k) {
      const int pair = k % 8 / 2;
      const float x = number(row * 4 + pair, i / 2 + k / 8 * 2, k % 2);
      const float y = number(column * 4 + pair, 4 + k / 8, k % 2);
      sums[i] = fmaf(x, y, sums[i]);
    }
  }
#elif !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  const float4 result = MultiplyTilesByShuffles({a[0], a[1], a[2], a[3]}, {b[0], b[1]},
                                                {sums[0], sums[1], sums[2], sums[3]});
  sums[0] = result.x;
  sums[1] = result.y;
  sums[2] = result.z;
  sums[3] = result.w;
#endif
}

// Reads four tiles of 8 x 8 numbers of 16 bits from shared memory, transposed: lane 8 i + r gives
// the address of row r of tile i, 16 bytes. Afterwards tiles[i] of lane 4 g + t has, of tile i, the
// numbers (2t, g) and (2t + 1, g). All lanes of a warp call it.
// Source: PTX ISA, ldmatrix.
__device__ __forceinline__ void LoadTransposedTiles(const void* row, uint32_t (&tiles)[4]) {
#if defined(__CUDACC__) && defined(__CUDA_ARCH__)
#if __CUDA_ARCH__ < 750
  // The instruction is newer.
  const int lane = static_cast<int>(threadIdx.x % kWarpSize);
  const auto address = reinterpret_cast<unsigned long long>(row);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    uint32_t two[2];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const auto from = __shfl_sync(kAllLanes, address, 8 * i + lane % 4 * 2 + j);
      two[j] = reinterpret_cast<const uint16_t*>(from)[lane / 4];
    }
    tiles[i] = two[0] | two[1] << 16;
  }
#else
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(tiles[0]), "=r"(tiles[1]), "=r"(tiles[2]), "=r"(tiles[3])
               : "r"(address)
               : "memory");
#endif
#elif !defined(__CUDACC__)
  const std::byte* const rows = emulator::ExchangeAll(kAllLanes, &row, sizeof(row));
  const int lane = static_cast<int>(emulator::Lane());
  for (int i = 0; i < 4; ++i) {
    uint16_t two[2];
    for (int j = 0; j < 2; ++j) {
      const std::byte* from;
      const int source = 8 * i + lane % 4 * 2 + j;
      std::memcpy(&from, rows + source * emulator::kExchangeBytes, sizeof(from));
      std::memcpy(&two[j], from + lane / 4 * 2, 2);
    }
    tiles[i] = two[0] | uint32_t{two[1]} << 16;
  }
#endif
}

// Copies 16 bytes from global to shared memory, or zeros if not `is_there`. They are in place for
// this thread once AwaitCopies says so, and for the others after a barrier.
__device__ __forceinline__ void CopyToShared(void* to, const void* from, bool is_there) {
#if defined(__CUDACC__) && defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from),
               "r"(is_there ? 16 : 0)
               : "memory");
#else
  uint4 value = {};
  if (is_there) value = *static_cast<const uint4*>(from);
  *static_cast<uint4*>(to) = value;
#endif
}

// Ends a group of copies.
__device__ __forceinline__ void EndCopies() {
#if defined(__CUDACC__) && defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until all groups but the last `kLeft` are in place.
template <int kLeft>
__device__ __forceinline__ void AwaitCopies() {
#if defined(__CUDACC__) && defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
#endif
}

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_MMA_H_
