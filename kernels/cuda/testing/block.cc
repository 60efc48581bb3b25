#include "kernels/cuda/testing/block.h"

#include <array>
#include <atomic>
#include <boost/context/fiber.hpp>
#include <boost/context/pooled_fixedsize_stack.hpp>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>
#include <vector>

namespace phalanx::kernels::cuda::emulator {
namespace {

using boost::context::fiber;

constexpr size_t kStackBytes = size_t{64} << 10;
constexpr int kLanes = 32;

std::atomic<ThreadOrder> g_order = ThreadOrder::kForward;
std::atomic<size_t> g_max_shared_bytes = size_t{227} << 10;

enum class State { kRuns, kAtBlockBarrier, kAtWarpBarrier, kEnded };

struct Thread {
  ThreadIndex index;
  State state = State::kRuns;
  uint64_t generation = 0;  // Of the barrier that it waits at.
  fiber self;
  fiber scheduler;  // To return to at a barrier.
};

struct Warp {
  uint32_t expected = 0;  // Lanes of the barrier that some wait at.
  uint32_t arrived = 0;
  uint64_t generation = 0;
  // By turns, so that a lane may go on to its next exchange while others still read this one.
  alignas(16) std::array<std::array<std::byte, kLanes * kExchangeBytes>, 2> slots;
};

class Block {
 public:
  void Run(dim3 grid, dim3 block_dim, uint3 block, size_t shared_bytes,
           const std::function<void()>& kernel);

  void* shared() { return shared_.data(); }

  void SyncThreads() {
    if (++arrived_ == live_) {
      ReleaseBlock();
      return;
    }
    Wait(State::kAtBlockBarrier, generation_);
  }

  // The last lane to arrive calls `complete`.
  template <typename Function>
  void SyncWarp(uint32_t lanes, Function complete) {
    Warp& warp = warps_[current_->index.warp];
    const uint32_t self = uint32_t{1} << current_->index.lane;
    if ((lanes & self) == 0) Fail("a lane waits at a barrier of other lanes");
    if (warp.arrived != 0 && warp.expected != lanes) Fail("lanes wait at barriers that differ");
    warp.expected = lanes;
    warp.arrived |= self;
    if (warp.arrived == lanes) {
      complete();
      warp.arrived = 0;
      ++warp.generation;
      return;
    }
    Wait(State::kAtWarpBarrier, warp.generation);
  }

  const std::byte* ExchangeAll(uint32_t lanes, const void* value, size_t bytes,
                               void (*combine)(std::byte*)) {
    Warp& warp = warps_[current_->index.warp];
    auto& slots = warp.slots[warp.generation % 2];
    std::memcpy(&slots[current_->index.lane * kExchangeBytes], value, bytes);
    SyncWarp(lanes, [&] {
      if (combine != nullptr) combine(slots.data());
    });
    return slots.data();
  }

 private:
  void ReleaseBlock() {
    arrived_ = 0;
    ++generation_;
  }

  void Wait(State state, uint64_t generation) {
    Thread& thread = *current_;
    thread.state = state;
    thread.generation = generation;
    thread.scheduler = std::move(thread.scheduler).resume();
    thread.state = State::kRuns;
  }

  bool CanRun(const Thread& thread) const {
    switch (thread.state) {
      case State::kRuns:
        return true;
      case State::kAtBlockBarrier:
        return thread.generation != generation_;
      case State::kAtWarpBarrier:
        return thread.generation != warps_[thread.index.warp].generation;
      case State::kEnded:
        return false;
    }
    return false;
  }

  [[noreturn]] void Fail(const char* why) const {
    int states[4] = {};
    for (const Thread& thread : threads_) ++states[static_cast<int>(thread.state)];
    const ThreadIndex& at = current_->index;
    std::fprintf(stderr,
                 "kernel: %s: thread %u of block (%u, %u, %u); of %zu threads %d run, %d wait for "
                 "their block, %d for their warp, %d have ended\n",
                 why, at.thread.x, at.block.x, at.block.y, at.block.z, threads_.size(), states[0],
                 states[1], states[2], states[3]);
    std::abort();
  }

  boost::context::pooled_fixedsize_stack stacks_{kStackBytes};
  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  std::vector<std::byte> shared_;
  Thread* current_ = nullptr;
  size_t live_ = 0;
  size_t arrived_ = 0;
  uint64_t generation_ = 0;
};

void Block::Run(dim3 grid, dim3 block_dim, uint3 block, size_t shared_bytes,
                const std::function<void()>& kernel) {
  const size_t size = size_t{block_dim.x} * block_dim.y * block_dim.z;
  if (size > 1024 || shared_bytes > MaxSharedBytes()) {
    std::fprintf(stderr, "kernel: a block of %zu threads and %zu bytes of shared memory\n", size,
                 shared_bytes);
    std::abort();
  }
  threads_.resize(size);
  warps_.assign((size + kLanes - 1) / kLanes, {});
  shared_.assign(shared_bytes + 16, {});
  live_ = size;
  arrived_ = 0;
  for (size_t i = 0; i < size; ++i) {
    Thread& thread = threads_[i];
    const auto x = static_cast<uint32_t>(i);
    thread.index = {
        .thread = {x % block_dim.x, x / block_dim.x % block_dim.y, x / (block_dim.x * block_dim.y)},
        .block = block,
        .block_dim = block_dim,
        .grid_dim = grid,
        .lane = x % kLanes,
        .warp = x / kLanes};
    thread.state = State::kRuns;
    thread.self = fiber(std::allocator_arg, stacks_, [&thread, &kernel](fiber&& scheduler) {
      thread.scheduler = std::move(scheduler);
      kernel();
      thread.state = State::kEnded;
      return std::move(thread.scheduler);
    });
  }
  const bool backward = g_order == ThreadOrder::kBackward;
  while (live_ > 0) {
    bool advanced = false;
    for (size_t i = 0; i < size; ++i) {
      Thread& thread = threads_[backward ? size - 1 - i : i];
      if (!CanRun(thread)) continue;
      advanced = true;
      current_ = &thread;
      current_thread = &thread.index;
      thread.self = std::move(thread.self).resume();
      if (thread.state == State::kEnded) --live_;
    }
    if (!advanced) Fail("threads wait at a barrier that others do not come to");
  }
}

[[gnu::tls_model("initial-exec")]] thread_local Block t_block;

}  // namespace

void SetThreadOrder(ThreadOrder order) { g_order = order; }

void SetMaxSharedBytes(size_t bytes) { g_max_shared_bytes = bytes; }
size_t MaxSharedBytes() { return g_max_shared_bytes; }

void RunGrid(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& kernel) {
  const uint32_t blocks = grid.x * grid.y * grid.z;
  const bool backward = g_order == ThreadOrder::kBackward;
  for (uint32_t i = 0; i < blocks; ++i) {
    const uint32_t at = backward ? blocks - 1 - i : i;
    t_block.Run(grid, block, {at % grid.x, at / grid.x % grid.y, at / (grid.x * grid.y)},
                shared_bytes, kernel);
  }
}

void* SharedMemory() {
  void* memory = t_block.shared();
  size_t space = 32;
  return std::align(16, 1, memory, space);
}

void SyncThreads() { t_block.SyncThreads(); }
void SyncWarp(uint32_t lanes) {
  t_block.SyncWarp(lanes, [] {});
}
const std::byte* ExchangeAll(uint32_t lanes, const void* value, size_t bytes,
                             void (*combine)(std::byte*)) {
  return t_block.ExchangeAll(lanes, value, bytes, combine);
}

}  // namespace phalanx::kernels::cuda::emulator
