#include "worker/bench/populate_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <vector>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

// Pages of a mapping that have memory of their own.
int Resident(void* data, size_t bytes) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> pages((bytes + page - 1) / page);
  EXPECT_EQ(mincore(data, bytes, pages.data()), 0);
  int resident = 0;
  for (const unsigned char state : pages) resident += state & 1;
  return resident;
}

void* MapFreshMemory(size_t bytes) {
  void* const data =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT_NE(data, MAP_FAILED);
  return data;
}

TEST(PopulateMemoryTest, GivesUntouchedPagesMemory) {
  constexpr size_t kBytes = size_t{1} << 20;
  void* const other = MapFreshMemory(kBytes);
  if (madvise(other, kBytes, MADV_POPULATE_WRITE) != 0) GTEST_SKIP() << "this system cannot";
  void* const data = MapFreshMemory(kBytes);
  ASSERT_EQ(Resident(data, kBytes), 0);
  static_cast<char*>(data)[5] = 7;

  PopulateMemory();

  EXPECT_EQ(Resident(data, kBytes), static_cast<int>(kBytes) / sysconf(_SC_PAGESIZE));
  EXPECT_EQ(static_cast<char*>(data)[5], 7);
  munmap(data, kBytes);
  munmap(other, kBytes);
}

}  // namespace
}  // namespace phalanx
