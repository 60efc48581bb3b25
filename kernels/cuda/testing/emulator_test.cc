// The emulator itself: what it does as a GPU does, and which faults of a kernel it finds.
#include "kernels/cuda/testing/emulator.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <future>
#include <numeric>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/testing/builtins.h"
#include "kernels/cuda/warp.h"

namespace phalanx::kernels::cuda::emulator {
namespace {

void RunBlock(int threads, const std::function<void()>& kernel) {
  RunGrid(dim3(1), dim3(static_cast<uint32_t>(threads)), 0, kernel);
}

class EmulatorTest : public testing::Test {
 protected:
  EmulatorTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
  ~EmulatorTest() override {
    SetThreadOrder(ThreadOrder::kForward);
    SetFault(cudaSuccess);
    SetDevices(1, size_t{1} << 30);
  }
};

TEST_F(EmulatorTest, ABlockBarrierShowsEachThreadWhatTheOthersWrote) {
  for (const ThreadOrder order : {ThreadOrder::kForward, ThreadOrder::kBackward}) {
    SetThreadOrder(order);
    std::vector<int> sums(64);
    RunBlock(64, [&] {
      PHALANX_SHARED int values[64];
      values[threadIdx.x] = static_cast<int>(threadIdx.x);
      __syncthreads();
      sums[threadIdx.x] = std::accumulate(values, values + 64, 0);
    });
    EXPECT_EQ(sums, std::vector<int>(64, 64 * 63 / 2));
  }
}

TEST_F(EmulatorTest, AForgottenBarrierGivesOtherResultsInTheOtherOrder) {
  const auto run = [](ThreadOrder order) {
    SetThreadOrder(order);
    std::vector<int> seen(32);
    RunBlock(32, [&] {
      PHALANX_SHARED int values[32];
      values[threadIdx.x] = 1 + static_cast<int>(threadIdx.x);
      seen[threadIdx.x] = values[31 - threadIdx.x];
    });
    return seen;
  };
  EXPECT_NE(run(ThreadOrder::kForward), run(ThreadOrder::kBackward));
}

TEST_F(EmulatorTest, ThreadsThatDoNotAllComeToABarrierEndTheProcess) {
  EXPECT_DEATH(RunBlock(64,
                        [] {
                          if (threadIdx.x < 40) __syncthreads();
                        }),
               "wait at a barrier that others do not come to.*40 wait for their block.*24 have");
  EXPECT_DEATH(RunBlock(32,
                        [] {
                          if (threadIdx.x != 7) __syncwarp();
                        }),
               "31 for their warp");
  EXPECT_DEATH(RunBlock(32, [] { __syncwarp(threadIdx.x == 0 ? 0xffffffff : 0xffff); }), "differ");
}

TEST_F(EmulatorTest, LanesExchangeValues) {
  for (const ThreadOrder order : {ThreadOrder::kForward, ThreadOrder::kBackward}) {
    SetThreadOrder(order);
    RunBlock(64, [] {
      const int lane = static_cast<int>(threadIdx.x % 32);
      // Many in a row, so that a value of the last exchange but one would be seen.
      for (int round = 0; round < 5; ++round) {
        EXPECT_EQ(__shfl_sync(0xffffffff, lane + round, 5), 5 + round);
        EXPECT_EQ(__shfl_xor_sync(0xffffffff, lane * 10 + round, 3), (lane ^ 3) * 10 + round);
        EXPECT_EQ(__shfl_up_sync(0xffffffff, lane, 4), lane < 4 ? lane : lane - 4);
      }
      EXPECT_EQ(__ballot_sync(0xffffffff, lane % 2 == 0), 0x55555555u);
      if (lane < 4) {
        EXPECT_EQ(__shfl_sync(0xf, threadIdx.x / 32, 2), threadIdx.x / 32);
      }
    });
  }
}

// Kernels sum by shuffles on a GPU and by one exchange here (warp.h).
TEST_F(EmulatorTest, LanesCombineInTheSameOrderAsByShuffles) {
  const auto sum = [](float own, float other) { return own + other; };
  const auto difference = [](float own, float other) { return own - 2 * other; };
  for (const ThreadOrder order : {ThreadOrder::kForward, ThreadOrder::kBackward}) {
    SetThreadOrder(order);
    RunBlock(64, [&] {
      // Numbers whose sum depends on the order.
      const float value = std::ldexp(1.0f + static_cast<float>(threadIdx.x), threadIdx.x * 7 % 30);
      EXPECT_EQ(CombineByXor(value, sum), CombineByShuffles(value, sum));
      EXPECT_EQ(CombineByXor(value, difference), CombineByShuffles(value, difference));
    });
  }
}

TEST_F(EmulatorTest, GridsRunEveryBlockWithItsIndex) {
  std::vector<int> runs(2 * 3 * 4 * 32);
  RunGrid(dim3(2, 3, 4), dim3(32), 100, [&] {
    EXPECT_EQ(gridDim.y, 3u);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(SharedMemory()) % 16, 0u);
    const auto block = (blockIdx.z * 3 + blockIdx.y) * 2 + blockIdx.x;
    ++runs[block * 32 + threadIdx.x];
  });
  EXPECT_EQ(runs, std::vector<int>(runs.size(), 1));
}

TEST_F(EmulatorTest, BlocksRunInEitherOrderAndTheLastOneIsKnownByACounter) {
  for (const ThreadOrder order : {ThreadOrder::kForward, ThreadOrder::kBackward}) {
    SetThreadOrder(order);
    unsigned counter = 0;
    std::vector<uint32_t> blocks;
    std::vector<uint32_t> last;
    for (int run = 0; run < 2; ++run) {
      RunGrid(dim3(2, 1, 3), dim3(1), 0, [&] {
        const uint32_t block = blockIdx.z * 2 + blockIdx.x;
        blocks.push_back(block);
        if (atomicInc(&counter, 5) == 5) last.push_back(block);
      });
      EXPECT_EQ(counter, 0u);
    }
    std::vector<uint32_t> expected = {0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5};
    if (order == ThreadOrder::kBackward) std::reverse(expected.begin(), expected.end());
    EXPECT_EQ(blocks, expected);
    EXPECT_EQ(last, std::vector<uint32_t>(2, expected.back()));
  }
}

cudaStream_t NewStream() {
  cudaStream_t stream = nullptr;
  EXPECT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  return stream;
}

TEST_F(EmulatorTest, AStreamRunsWhatWasQueuedLaterAndInOrder) {
  const cudaStream_t stream = NewStream();
  std::atomic<bool> goes_on = false;
  std::vector<int> order;
  Enqueue(stream, [&] {
    goes_on.wait(false);
    order.push_back(1);
  });
  Launch(stream, dim3(1), dim3(1), 0, [&] { order.push_back(2); });
  EXPECT_EQ(cudaStreamQuery(stream), cudaErrorNotReady);
  goes_on = true;
  goes_on.notify_all();
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_EQ(cudaStreamQuery(stream), cudaSuccess);
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
  cudaStreamDestroy(stream);
}

TEST_F(EmulatorTest, AStreamWaitsForAnEventOfAnother) {
  const cudaStream_t first = NewStream();
  const cudaStream_t second = NewStream();
  cudaEvent_t event = nullptr;
  cudaEventCreateWithFlags(&event, 0);
  std::atomic<bool> goes_on = false;
  std::vector<int> order;
  Enqueue(first, [&] {
    goes_on.wait(false);
    order.push_back(1);
  });
  cudaEventRecord(event, first);
  cudaStreamWaitEvent(second, event, 0);
  Enqueue(second, [&] { order.push_back(2); });
  EXPECT_EQ(cudaEventQuery(event), cudaErrorNotReady);
  goes_on = true;
  goes_on.notify_all();
  cudaStreamSynchronize(second);
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
  EXPECT_EQ(cudaEventQuery(event), cudaSuccess);
  cudaEventDestroy(event);
  cudaStreamDestroy(second);
  cudaStreamDestroy(first);
}

TEST_F(EmulatorTest, ACaptureRunsNothingAndItsGraphRunsAllOfItEachTime) {
  const cudaStream_t stream = NewStream();
  int value = 0;
  cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
  Launch(stream, dim3(1), dim3(2), 0, [&] { value += 1; });
  Enqueue(stream, [&] { value *= 10; });
  cudaGraph_t graph = nullptr;
  EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  cudaStreamSynchronize(stream);
  EXPECT_EQ(value, 0);
  const uint64_t launches = Launches();
  cudaGraphExec_t executable = nullptr;
  cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  cudaGraphLaunch(executable, stream);
  cudaGraphLaunch(executable, stream);
  cudaStreamSynchronize(stream);
  EXPECT_EQ(value, 220);
  EXPECT_EQ(Launches(), launches + 2);
  cudaGraphExecDestroy(executable);
  cudaStreamDestroy(stream);
}

TEST_F(EmulatorTest, MemoryEndsAndComesBack) {
  SetDevices(2, 1000);
  void* first = nullptr;
  void* second = nullptr;
  EXPECT_EQ(cudaMalloc(&first, 800), cudaSuccess);
  EXPECT_EQ(cudaMalloc(&second, 300), cudaErrorMemoryAllocation);
  size_t free = 0;
  size_t total = 0;
  cudaMemGetInfo(&free, &total);
  EXPECT_EQ(free, 200u);
  EXPECT_EQ(total, 1000u);
  cudaSetDevice(1);
  EXPECT_EQ(cudaMalloc(&second, 300), cudaSuccess);
  cudaFree(second);
  cudaFree(first);
  cudaSetDevice(0);
  cudaMemGetInfo(&free, &total);
  EXPECT_EQ(free, 1000u);
  EXPECT_EQ(cudaSetDevice(2), cudaErrorInvalidDevice);
}

TEST_F(EmulatorTest, MemoryIsFreedOnceNothingQueuedCanUseIt) {
  const cudaStream_t stream = NewStream();
  void* memory = nullptr;
  ASSERT_EQ(cudaMalloc(&memory, 4), cudaSuccess);
  std::promise<void> goes_on;
  bool used = false;
  Enqueue(stream, [&] {
    goes_on.get_future().wait();
    used = true;
  });
  std::thread free([&] { cudaFree(memory); });
  goes_on.set_value();
  free.join();
  EXPECT_TRUE(used);
  cudaStreamDestroy(stream);
}

TEST_F(EmulatorTest, AFaultStays) {
  const cudaStream_t stream = NewStream();
  SetFault(cudaErrorIllegalAddress);
  EXPECT_EQ(cudaStreamQuery(stream), cudaErrorIllegalAddress);
  EXPECT_EQ(cudaGetLastError(), cudaErrorIllegalAddress);
  EXPECT_EQ(cudaGetLastError(), cudaErrorIllegalAddress);
  SetFault(cudaSuccess);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  cudaStreamDestroy(stream);
}

TEST_F(EmulatorTest, AnEventInAGraphIsRecordedByEachRunIfItIsANode) {
  cudaStream_t stream;
  cudaEvent_t node;
  cudaEvent_t none;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  cudaEventCreateWithFlags(&node, cudaEventDefault);
  cudaEventCreateWithFlags(&none, cudaEventDefault);
  EXPECT_EQ(cudaEventRecordWithFlags(node, stream, cudaEventRecordExternal), cudaErrorInvalidValue);
  cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
  EXPECT_EQ(cudaEventRecordWithFlags(node, stream, cudaEventRecordExternal), cudaSuccess);
  EXPECT_EQ(cudaEventRecord(none, stream), cudaSuccess);
  Enqueue(stream, [] { AdvanceClock(std::chrono::hours(1)); });
  cudaGraph_t graph;
  cudaStreamEndCapture(stream, &graph);
  cudaGraphExec_t executable;
  cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  float milliseconds = 0;
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, node, node), cudaErrorInvalidResourceHandle);
  for (int i = 0; i < 2; ++i) cudaGraphLaunch(executable, stream);
  cudaStreamSynchronize(stream);
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, node, node), cudaSuccess);
  EXPECT_EQ(cudaEventQuery(none), cudaErrorCapturedEvent);
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, node, none), cudaErrorCapturedEvent);
  EXPECT_EQ(cudaEventRecord(none, stream), cudaSuccess);
  cudaStreamSynchronize(stream);
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, node, none), cudaSuccess);
  EXPECT_GE(milliseconds, 3600e3f - 1);
  EXPECT_LT(milliseconds, 2 * 3600e3f) << "of the last run";
  cudaGraphExecDestroy(executable);
  cudaEventDestroy(node);
  cudaEventDestroy(none);
  cudaStreamDestroy(stream);
}

TEST_F(EmulatorTest, AnEventWithoutTimingTellsNoTime) {
  cudaStream_t stream;
  cudaEvent_t event;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
  cudaEventRecord(event, stream);
  cudaStreamSynchronize(stream);
  float milliseconds = 0;
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, event, event), cudaErrorInvalidResourceHandle);
  cudaEventDestroy(event);
  cudaStreamDestroy(stream);
}

}  // namespace
}  // namespace phalanx::kernels::cuda::emulator
