// How much memory this process has.
#ifndef PHALANX_BASE_RESIDENT_MEMORY_H_
#define PHALANX_BASE_RESIDENT_MEMORY_H_

#include <cstdint>

namespace phalanx {

// Bytes of memory that this process has, that of shared mappings included; 0 if the system does not
// tell. Takes some microseconds.
int64_t ResidentMemoryBytes();

}  // namespace phalanx

#endif  // PHALANX_BASE_RESIDENT_MEMORY_H_
