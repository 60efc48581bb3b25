#include "kernels/cuda/testing/emulator.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>

#include "kernels/cuda/testing/streams.h"

using phalanx::kernels::cuda::emulator::Done;
using phalanx::kernels::cuda::emulator::Return;
using phalanx::kernels::cuda::emulator::WaitForAllStreams;
using phalanx::kernels::cuda::emulator::Work;

namespace {

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

std::chrono::nanoseconds Clock() {
  return std::chrono::steady_clock::now().time_since_epoch() + g_advance.load();
}

cudaError_t Fault() { return g_fault; }

cudaError_t Return(cudaError_t error) {
  if (error != cudaSuccess && error != cudaErrorNotReady) t_last_error = error;
  return error;
}

cudaError_t Done() { return Return(g_fault); }

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
