#include "kernels/cuda/testing/emulator.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <utility>
#include <vector>

using phalanx::kernels::cuda::emulator::RunGrid;

namespace {

using Work = std::function<void()>;

constexpr int kMaxDevices = 8;
constexpr size_t kAlignment = 256;  // That of cudaMalloc.

struct Memory {
  std::mutex mutex;
  int devices = 1;
  size_t limit = size_t{4} << 30;
  size_t used[kMaxDevices] = {};
  struct Piece {
    int device = 0;
    size_t bytes = 0;
  };
  std::map<void*, Piece> pieces;
};

Memory& TheMemory() {
  static auto* memory = new Memory;
  return *memory;
}

std::atomic<cudaError_t> g_fault = cudaSuccess;
std::atomic<uint64_t> g_launches = 0;
// By how much AdvanceClock has put the clock forward.
std::atomic<std::chrono::nanoseconds> g_advance = std::chrono::nanoseconds(0);
thread_local int t_device = 0;
thread_local cudaError_t t_last_error = cudaSuccess;

cudaError_t Return(cudaError_t error) {
  if (error != cudaSuccess && error != cudaErrorNotReady) t_last_error = error;
  return error;
}

// What a call returns that has done its work: the fault, if there is one.
cudaError_t Done() { return Return(g_fault); }

}  // namespace

// The types that the API leaves open.
struct CUgraph_st {
  std::vector<Work> works;
};

struct CUgraphExec_st {
  std::vector<Work> works;
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
    time = std::chrono::steady_clock::now().time_since_epoch() + g_advance.load();
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

  void Push(Work work) {
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
      const Work work = std::move(works_.front());
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
  std::deque<Work> works_;
  size_t pending_ = 0;
  bool ending_ = false;
  std::thread thread_;  // Last: it uses the others.
};

namespace {

struct Streams {
  std::mutex mutex;
  std::set<CUstream_st*> all;
};

Streams& TheStreams() {
  static auto* streams = new Streams;
  return *streams;
}

// As CUDA does before it frees memory: what was queued may use it.
void WaitForAllStreams() {
  const std::lock_guard lock(TheStreams().mutex);
  for (CUstream_st* const stream : TheStreams().all) stream->Wait();
}

}  // namespace

namespace phalanx::kernels::cuda::emulator {

void Launch(cudaStream_t stream, dim3 grid, dim3 block, size_t shared_bytes, Work kernel) {
  stream->Push([=, kernel = std::move(kernel)] {
    g_launches.fetch_add(1, std::memory_order_relaxed);
    RunGrid(grid, block, shared_bytes, kernel);
  });
}

uint64_t Launches() { return g_launches.load(std::memory_order_relaxed); }

void Enqueue(cudaStream_t stream, Work work) { stream->Push(std::move(work)); }

void SetDevices(int count, size_t memory_bytes) {
  const std::lock_guard lock(TheMemory().mutex);
  TheMemory().devices = std::clamp(count, 0, kMaxDevices);
  TheMemory().limit = memory_bytes;
}

void AdvanceClock(std::chrono::nanoseconds time) { g_advance = g_advance.load() + time; }

void SetFault(cudaError_t error) {
  g_fault = error;
  if (error == cudaSuccess) t_last_error = cudaSuccess;
}

}  // namespace phalanx::kernels::cuda::emulator

// --- The functions of the CUDA runtime ---

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  const std::lock_guard lock(TheMemory().mutex);
  *count = TheMemory().devices;
  return Return(*count > 0 ? cudaSuccess : cudaErrorNoDevice);
}

cudaError_t cudaSetDevice(int device) {
  const std::lock_guard lock(TheMemory().mutex);
  if (device < 0 || device >= TheMemory().devices) return Return(cudaErrorInvalidDevice);
  t_device = device;
  return Return(g_fault);
}

cudaError_t cudaGetDevice(int* device) {
  *device = t_device;
  return Done();
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor:
      *value = 9;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = 4;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(phalanx::kernels::cuda::emulator::MaxSharedBytes());
      break;
    default:
      *value = 0;
  }
  return Done();
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  *properties = {};
  std::snprintf(properties->name, sizeof(properties->name), "emulated GPU");
  properties->totalGlobalMem = TheMemory().limit;
  properties->major = 9;
  properties->multiProcessorCount = 4;
  return Done();
}

cudaError_t cudaDeviceGetPCIBusId(char* id, int length, int device) {
  std::snprintf(id, static_cast<size_t>(length), "0000:%02x:00.0", device);
  return Done();
}

cudaError_t cudaDeviceCanAccessPeer(int* can, int device, int peer) {
  *can = 1;
  return Done();
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return Done();
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return Done();
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const std::lock_guard lock(TheMemory().mutex);
  *total = TheMemory().limit;
  *free = *total - TheMemory().used[t_device];
  return Done();
}

cudaError_t cudaMalloc(void** to, size_t bytes) {
  Memory& memory = TheMemory();
  const std::lock_guard lock(memory.mutex);
  if (g_fault != cudaSuccess) return Return(g_fault);
  if (bytes > memory.limit - memory.used[t_device]) return Return(cudaErrorMemoryAllocation);
  *to = std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
  // As a GPU's memory it holds anything; NaN in every float type shows who relies on zeros.
  std::memset(*to, 0xff, bytes);
  memory.pieces[*to] = {t_device, bytes};
  memory.used[t_device] += bytes;
  return cudaSuccess;
}

cudaError_t cudaFree(void* piece) {
  WaitForAllStreams();
  Memory& memory = TheMemory();
  const std::lock_guard lock(memory.mutex);
  const auto it = memory.pieces.find(piece);
  if (it == memory.pieces.end())
    return Return(piece == nullptr ? cudaSuccess : cudaErrorInvalidValue);
  memory.used[it->second.device] -= it->second.bytes;
  memory.pieces.erase(it);
  std::free(piece);
  return Done();
}

cudaError_t cudaHostAlloc(void** to, size_t bytes, unsigned flags) {
  *to = std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
  return *to == nullptr ? Return(cudaErrorMemoryAllocation) : Done();
}

cudaError_t cudaFreeHost(void* piece) {
  WaitForAllStreams();
  std::free(piece);
  return Done();
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  stream->Push([=] { std::memcpy(to, from, bytes); });
  return Done();
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  stream->Push([=] { std::memset(to, value, bytes); });
  return Done();
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  *stream = new CUstream_st;
  const std::lock_guard lock(TheStreams().mutex);
  TheStreams().all.insert(*stream);
  return Done();
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  {
    const std::lock_guard lock(TheStreams().mutex);
    TheStreams().all.erase(stream);
  }
  delete stream;
  return Done();
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  if (g_fault != cudaSuccess) return Return(g_fault);
  return stream->idle() ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  stream->Wait();
  return Done();
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  if (stream->capture.has_value()) return Return(cudaErrorIllegalState);
  stream->capture.emplace();
  return Done();
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  *status =
      stream->capture.has_value() ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return Done();
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  if (!stream->capture.has_value()) return Return(cudaErrorIllegalState);
  *graph = new CUgraph_st(*std::move(stream->capture));
  stream->capture.reset();
  return Done();
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long flags) {
  *executable = new CUgraphExec_st{graph->works};
  return Done();
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  for (const Work& work : executable->works) stream->Push(work);
  return Done();
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return Done();
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return Done();
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  *event = new CUevent_st{.tells_time = (flags & cudaEventDisableTiming) == 0};
  return Done();
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return Done();
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return cudaEventRecordWithFlags(event, stream, cudaEventRecordDefault);
}

cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned flags) {
  const auto state = event->state;
  const bool is_node = flags == cudaEventRecordExternal;
  const bool captures = stream->capture.has_value();
  if (is_node && !captures) return Return(cudaErrorInvalidValue);
  const std::lock_guard lock(state->mutex);
  state->captured = captures && !is_node;
  if (state->captured) return Done();
  if (is_node) {
    // Each run of the graph records it anew.
    stream->Push([state] {
      uint64_t number;
      {
        const std::lock_guard lock(state->mutex);
        number = ++state->recorded;
      }
      state->Reach(number);
    });
  } else {
    stream->Push([state, number = ++state->recorded] { state->Reach(number); });
  }
  return Done();
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (g_fault != cudaSuccess) return Return(g_fault);
  const EventState& state = *event->state;
  const std::lock_guard lock(event->state->mutex);
  if (state.captured) return Return(cudaErrorCapturedEvent);
  return state.done == state.recorded ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags) {
  const auto state = event->state;
  uint64_t number;
  {
    const std::lock_guard lock(state->mutex);
    number = state->recorded;
  }
  stream->Push([=] {
    std::unique_lock lock(state->mutex);
    state->changed.wait(lock, [&] { return state->done >= number; });
  });
  return Done();
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  std::chrono::nanoseconds times[2];
  for (int i = 0; i < 2; ++i) {
    const cudaEvent_t event = i == 0 ? start : end;
    EventState& state = *event->state;
    const std::lock_guard lock(state.mutex);
    if (state.captured) return Return(cudaErrorCapturedEvent);
    if (!event->tells_time || state.recorded == 0) return Return(cudaErrorInvalidResourceHandle);
    if (state.done != state.recorded) return Return(cudaErrorNotReady);
    times[i] = state.time;
  }
  *milliseconds = std::chrono::duration<float, std::milli>(times[1] - times[0]).count();
  return Done();
}

cudaError_t cudaGetLastError() { return std::exchange(t_last_error, g_fault.load()); }
cudaError_t cudaPeekAtLastError() { return t_last_error; }

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorIllegalAddress:
      return "cudaErrorIllegalAddress";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorNotReady:
      return "cudaErrorNotReady";
    default:
      return "cudaErrorUnknown";
  }
}
const char* cudaGetErrorString(cudaError_t error) { return cudaGetErrorName(error); }

}  // extern "C"
