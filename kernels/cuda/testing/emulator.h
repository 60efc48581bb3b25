// A stand-in for a GPU and for the part of the CUDA runtime that kernels/cuda calls: emulator.cc
// defines these functions of cuda_runtime_api.h, so a program that links it has no other runtime.
// Device memory is host memory. A stream is a thread that runs what was queued, in order, after the
// call that queued it has returned, as on a GPU.
#ifndef PHALANX_KERNELS_CUDA_TESTING_EMULATOR_H_
#define PHALANX_KERNELS_CUDA_TESTING_EMULATOR_H_

#include <cuda_runtime_api.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>

#include "kernels/cuda/testing/block.h"

namespace phalanx::kernels::cuda::emulator {

// Queues a kernel.
void Launch(cudaStream_t stream, dim3 grid, dim3 block, size_t shared_bytes,
            std::function<void()> kernel);

// How many kernels have begun to run in this process, those of graphs included.
uint64_t Launches();

// Queues any other work, for stand-ins of libraries that queue theirs on streams.
void Enqueue(cudaStream_t stream, std::function<void()> work);

// How many devices there are from here on, at most 8, and how much memory each has.
void SetDevices(int count, size_t memory_bytes);

// Puts the clock by which events tell the time forward, for tests of what takes long.
void AdvanceClock(std::chrono::nanoseconds time);

// Makes all calls fail with `error` from here on, as after a fault of the device; cudaSuccess mends
// it, as on a GPU only a new process does.
void SetFault(cudaError_t error);

}  // namespace phalanx::kernels::cuda::emulator

#endif  // PHALANX_KERNELS_CUDA_TESTING_EMULATOR_H_
