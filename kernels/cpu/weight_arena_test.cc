#include "kernels/cpu/weight_arena.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <vector>

#include "gtest/gtest.h"

namespace phalanx::kernels {
namespace {

TEST(WeightArenaTest, PartsAreAlignedZeroAndApart) {
  WeightArena arena;
  std::vector<WeightArena::Part> parts;
  for (const size_t bytes : {1, 64, 100, 5000, 3 << 20}) {
    parts.push_back(*arena.Allocate(bytes));
    const WeightArena::Part& part = parts.back();
    EXPECT_EQ(part.bytes(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(part.data()) % 64, 0u);
    EXPECT_TRUE(std::all_of(part.data(), part.data() + bytes,
                            [](std::byte b) { return b == std::byte{0}; }));
    std::memset(part.data(), 0xff, bytes);
  }
}

// Small parts lie in one huge page as long as there is room.
TEST(WeightArenaTest, SmallPartsShareAPieceThatBeginsAtAHugePage) {
  WeightArena arena;
  const WeightArena::Part first = *arena.Allocate(1000);
  const WeightArena::Part second = *arena.Allocate(1000);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first.data()) % (size_t{2} << 20), 0u);
  EXPECT_EQ(second.data() - first.data(), 1024);
}

TEST(WeightArenaTest, APartOutlivesTheArenaAndItsNeighbours) {
  std::optional<WeightArena::Part> kept;
  {
    WeightArena arena;
    const WeightArena::Part gone = *arena.Allocate(1000);
    kept = *arena.Allocate(1000);
  }
  std::memset(kept->data(), 1, kept->bytes());
  EXPECT_EQ(kept->data()[999], std::byte{1});
}

TEST(WeightArenaTest, APartLargerThanAPieceHasItsOwn) {
  WeightArena arena;
  const WeightArena::Part small = *arena.Allocate(10);
  const WeightArena::Part large = *arena.Allocate(size_t{65} << 20);
  large.data()[large.bytes() - 1] = std::byte{1};
  const WeightArena::Part next = *arena.Allocate(10);
  EXPECT_NE(next.data(), small.data());
}

TEST(WeightArenaTest, TellsTheBytesThatCannotBeHad) {
  WeightArena arena;
  const auto part = arena.Allocate(size_t{1} << 60);
  EXPECT_EQ(part.status().code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace phalanx::kernels
