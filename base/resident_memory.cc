#include "base/resident_memory.h"

#include <unistd.h>

#include <cstdio>

namespace phalanx {

int64_t ResidentMemoryBytes() {
  FILE* const file = std::fopen("/proc/self/statm", "re");
  if (file == nullptr) return 0;
  long total_pages = 0;
  long resident_pages = 0;
  const int read = std::fscanf(file, "%ld %ld", &total_pages, &resident_pages);
  std::fclose(file);
  return read == 2 ? int64_t{resident_pages} * sysconf(_SC_PAGESIZE) : 0;
}

}  // namespace phalanx
