#include "worker/bench/populate_memory.h"

#include <sys/mman.h>

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

namespace phalanx {

void PopulateMemory() {
#ifdef MADV_POPULATE_WRITE
  // All are read before the first one changes what there is to read.
  std::vector<std::pair<uintptr_t, uintptr_t>> ranges;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    uintptr_t begin = 0, end = 0;
    uint64_t inode = 0;
    char access[5] = "";
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " %4s %*s %*s %" SCNu64, &begin, &end,
                    access, &inode) != 4) {
      continue;
    }
    // Of no file, and no stack, which grows by itself.
    if (std::string(access) == "rw-p" && inode == 0 && line.find('[') == std::string::npos) {
      ranges.emplace_back(begin, end);
    }
  }
  for (const auto& [begin, end] : ranges) {
    (void)madvise(reinterpret_cast<void*>(begin), end - begin, MADV_POPULATE_WRITE);
  }
#endif
}

}  // namespace phalanx
