// How much a test's code allocates: files must be refused before anything of the size that they
// claim is.
#ifndef PHALANX_MODEL_TESTING_ALLOCATED_BYTES_H_
#define PHALANX_MODEL_TESTING_ALLOCATED_BYTES_H_

#include <cstddef>

namespace phalanx {

// All that this process asked of operator new until now, freed or not. Linking this replaces the
// operator in the whole test.
size_t AllocatedBytes();

// How often it did so.
size_t Allocations();

// For small reads, whatever is in them: vectors that grow, messages.
inline constexpr size_t kAllocationBase = 32 << 10;

}  // namespace phalanx

#endif  // PHALANX_MODEL_TESTING_ALLOCATED_BYTES_H_
