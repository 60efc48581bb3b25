// The memory that the ranks of a group hold their weights and KV cache in.
#ifndef PHALANX_WORKER_MEMORY_SOURCE_H_
#define PHALANX_WORKER_MEMORY_SOURCE_H_

#include <cstdint>
#include <string>

#include "base/free_memory.h"

namespace phalanx {

// What a process on a CPU takes beside what is counted: the program, gRPC, and what packing needs
// for a while.
inline constexpr int64_t kProgramBytes = int64_t{100} << 20;

// By default the memory of a machine, which all ranks share.
struct MemorySource {
  FreeMemory free;
  // For messages: what free.machine is free in.
  std::string name = "the machine (MemAvailable)";
  // Whether each rank has so much of its own, as where each has a GPU.
  bool of_each_rank = false;
  // What each rank takes beside what is counted, and what that is, for messages.
  int64_t overhead = kProgramBytes;
  std::string overhead_name = "program";
  // Whether the KV cache takes all that is left, unless it is told otherwise: memory that nobody
  // else uses is there to be filled.
  bool is_to_be_filled = false;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_MEMORY_SOURCE_H_
