// Makes memory that was allocated but never written to be really there.
#ifndef PHALANX_WORKER_BENCH_POPULATE_MEMORY_H_
#define PHALANX_WORKER_BENCH_POPULATE_MEMORY_H_

namespace phalanx {

// Gives each page of this process's private memory that was never touched memory of its own. Reads
// of such pages all go to one page of zeros, which stays in the cache: a bench that reads them
// would be too fast. Does nothing where the system cannot do it (Linux before 5.14).
void PopulateMemory();

}  // namespace phalanx

#endif  // PHALANX_WORKER_BENCH_POPULATE_MEMORY_H_
