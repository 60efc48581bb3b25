// Runs the threads of a block, each as a fiber, all on the calling thread of the host: one fiber
// runs until it comes to a barrier or ends, then the next. So what threads do between two barriers
// is never interleaved, and a kernel that forgets a barrier gives results that depend on the order
// in which the threads run: tests run kernels in both orders.
//
// Ends the process, saying which kernel threads wait for what, if the threads of a block or a warp
// do not all come to a barrier.
#ifndef PHALANX_KERNELS_CUDA_TESTING_BLOCK_H_
#define PHALANX_KERNELS_CUDA_TESTING_BLOCK_H_

#include <vector_types.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

namespace phalanx::kernels::cuda::emulator {

// What CUDA's built-in variables tell a thread.
struct ThreadIndex {
  uint3 thread;
  uint3 block;
  dim3 block_dim;
  dim3 grid_dim;
  uint32_t lane = 0;
  uint32_t warp = 0;
};

// The most shared memory that a block can have, from here on; at first that of an H100, 227 KiB.
// Blocks that ask for more end the process.
void SetMaxSharedBytes(size_t bytes);
size_t MaxSharedBytes();

enum class ThreadOrder { kForward, kBackward };

// For all grids that begin from here on: in which order their blocks run, and the threads of each
// block.
void SetThreadOrder(ThreadOrder order);

// Runs `kernel` once for each thread of each block. `shared_bytes` are zero at the start of each
// block, as they are not on a GPU: NaN would be harder to tell from a fault of the kernel.
void RunGrid(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& kernel);

// --- For kernels: of the thread that runs ---

// The TLS model spares a call for each use, as this is never in a library that is loaded later.
[[gnu::tls_model("initial-exec")]] inline constinit thread_local const ThreadIndex* current_thread =
    nullptr;
inline const ThreadIndex& CurrentThread() { return *current_thread; }
inline uint32_t Lane() { return CurrentThread().lane; }
void* SharedMemory();
void SyncThreads();
void SyncWarp(uint32_t lanes);

// What the lanes of a warp put down for each other in one step, at most this much each.
inline constexpr size_t kExchangeBytes = 32;

// Puts `bytes` down, waits for the `lanes`, and returns what all of them put down: that of lane l
// at l * kExchangeBytes. If there is a `combine`, it is called once before that with all of them,
// and puts in their place what lanes get. Valid until the thread's next exchange but one.
const std::byte* ExchangeAll(uint32_t lanes, const void* value, size_t bytes,
                             void (*combine)(std::byte* all) = nullptr);

template <typename T>
T Exchange(uint32_t lanes, T value, int lane) {
  static_assert(sizeof(T) <= kExchangeBytes);
  T result;
  std::memcpy(&result, ExchangeAll(lanes, &value, sizeof(T)) + lane * kExchangeBytes, sizeof(T));
  return result;
}

// What each lane of a warp gets if all combine their value with that of the lane whose number
// differs by 16, then by 8, 4, 2 and 1 (__shfl_xor_sync): the same operations in the same order,
// with one exchange instead of five. `Combine` has no state.
template <typename T, typename Combine>
T CombineByXor(T value, Combine) {
  static_assert(sizeof(T) <= kExchangeBytes);
  const std::byte* all = ExchangeAll(0xffffffff, &value, sizeof(T), [](std::byte* slots) {
    T values[32];
    for (int i = 0; i < 32; ++i) std::memcpy(&values[i], slots + i * kExchangeBytes, sizeof(T));
    for (int mask = 16; mask > 0; mask /= 2) {
      T combined[32];
      for (int i = 0; i < 32; ++i) combined[i] = Combine()(values[i], values[i ^ mask]);
      std::copy_n(combined, 32, values);
    }
    for (int i = 0; i < 32; ++i) std::memcpy(slots + i * kExchangeBytes, &values[i], sizeof(T));
  });
  T result;
  std::memcpy(&result, all + Lane() * kExchangeBytes, sizeof(T));
  return result;
}

inline uint32_t Ballot(uint32_t lanes, bool vote) {
  const std::byte* votes = ExchangeAll(lanes, &vote, sizeof(vote));
  uint32_t result = 0;
  for (int lane = 0; lane < 32; ++lane) {
    if ((lanes >> lane & 1) != 0 && votes[lane * kExchangeBytes] != std::byte{0}) {
      result |= uint32_t{1} << lane;
    }
  }
  return result;
}

}  // namespace phalanx::kernels::cuda::emulator

#endif  // PHALANX_KERNELS_CUDA_TESTING_BLOCK_H_
