// The part of what `phalanx inspect` prints that tells what each rank takes of its memory.
#ifndef PHALANX_CLIENT_MEMORY_TABLE_H_
#define PHALANX_CLIENT_MEMORY_TABLE_H_

#include <string>

#include "client/inspection.h"

namespace phalanx {

// A table with a line for each rank, and what that leaves room for. `found` has ranks.
std::string MemoryTable(const Inspection& found);

}  // namespace phalanx

#endif  // PHALANX_CLIENT_MEMORY_TABLE_H_
