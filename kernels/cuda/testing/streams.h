// The emulator's streams, events and graphs, and what its functions of the CUDA runtime share. Only
// for the emulator's own sources.
#ifndef PHALANX_KERNELS_CUDA_TESTING_STREAMS_H_
#define PHALANX_KERNELS_CUDA_TESTING_STREAMS_H_

#include <cuda_runtime_api.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace phalanx::kernels::cuda::emulator {

using Work = std::function<void()>;

// By which events tell the time; see AdvanceClock.
std::chrono::nanoseconds Clock();

// That of SetFault.
cudaError_t Fault();
// What a call returns: cudaGetLastError has it then, if it is an error.
cudaError_t Return(cudaError_t error);
// What a call returns that has done its work: the fault, if there is one.
cudaError_t Done();

// As CUDA does before it frees memory: what was queued may use it.
void WaitForAllStreams();

}  // namespace phalanx::kernels::cuda::emulator

// The types that the API leaves open.
struct CUgraph_st {
  std::vector<phalanx::kernels::cuda::emulator::Work> works;
};

struct CUgraphExec_st {
  std::vector<phalanx::kernels::cuda::emulator::Work> works;
};

// Shared by the streams, since an event may be destroyed while they have not come to it.
struct EventState {
  std::mutex mutex;
  std::condition_variable changed;
  uint64_t recorded = 0;  // How often cudaEventRecord was called, and how many of these are done.
  uint64_t done = 0;
  std::chrono::nanoseconds time{};
  // Whether it was recorded last while its stream was captured, and is no node of the graph.
  bool captured = false;

  // What a stream does that comes to it for the `number`th time.
  void Reach(uint64_t number) {
    const std::lock_guard lock(mutex);
    done = std::max(done, number);
    time = phalanx::kernels::cuda::emulator::Clock();
    changed.notify_all();
  }
};

struct CUevent_st {
  bool tells_time = true;
  const std::shared_ptr<EventState> state = std::make_shared<EventState>();
};

struct CUstream_st {
  CUstream_st() : thread_([this] { Run(); }) {}
  ~CUstream_st() {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  void Push(phalanx::kernels::cuda::emulator::Work work) {
    if (capture.has_value()) {
      capture->works.push_back(std::move(work));
      return;
    }
    {
      const std::lock_guard lock(mutex_);
      works_.push_back(std::move(work));
      ++pending_;
    }
    changed_.notify_all();
  }

  bool idle() {
    const std::lock_guard lock(mutex_);
    return pending_ == 0;
  }

  void Wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return pending_ == 0; });
  }

  std::optional<CUgraph_st> capture;  // While the stream is captured.

 private:
  void Run() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return ending_ || !works_.empty(); });
      if (works_.empty()) return;
      const auto work = std::move(works_.front());
      works_.pop_front();
      lock.unlock();
      work();
      lock.lock();
      --pending_;
      changed_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<phalanx::kernels::cuda::emulator::Work> works_;
  size_t pending_ = 0;
  bool ending_ = false;
  std::thread thread_;  // Last: it uses the others.
};

#endif  // PHALANX_KERNELS_CUDA_TESTING_STREAMS_H_
