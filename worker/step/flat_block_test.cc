#include "worker/step/flat_block.h"

#include <cstdint>
#include <cstring>
#include <memory_resource>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr kernels::StepCounts kCounts = {.num_tokens = 3, .num_seqs = 2, .num_table_entries = 1};

// A block in which every byte of every array has a value of its own.
template <typename Block>
Block Numbered(const typename Block::Counts& counts) {
  Block block(counts);
  auto arrays = block.arrays();
  uint8_t next = 1;
  const auto fill = [&]<typename T>(const char*, absl::Span<T> span, int64_t) {
    for (T& element : span) {
      auto* const bytes = reinterpret_cast<uint8_t*>(&element);
      for (size_t i = 0; i < sizeof(T); ++i) bytes[i] = next++;
    }
  };
  if constexpr (std::is_same_v<Block, StepBlock>) {
    kernels::StepList::ForEach(counts, arrays, fill);
  } else {
    kernels::SamplingList::ForEach(counts, arrays, fill);
  }
  return block;
}

TEST(FlatBlockTest, ArraysHaveTheSizesThatTheCountsSayAndAreZeroAtFirst) {
  StepBlock block(kCounts);
  const StepBlock::Arrays arrays = block.arrays();
  EXPECT_EQ(arrays.token_ids.size(), 3u);
  EXPECT_EQ(arrays.query_starts.size(), 3u);
  EXPECT_EQ(arrays.slots.size(), 2u);
  EXPECT_EQ(arrays.table_entries.size(), 1u);
  EXPECT_THAT(arrays.token_ids, Each(0));
  EXPECT_EQ(block.counts().num_seqs, 2);
}

TEST(FlatBlockTest, NoTwoArraysShareMemoryAndAllLieInTheBlock) {
  StepBlock block(kCounts);
  StepBlock::Arrays arrays = block.arrays();
  const char* end = block.bytes().data();
  kernels::StepList::ForEach(
      kCounts, arrays, [&]<typename T>(const char* name, absl::Span<T> span, int64_t elements) {
        EXPECT_GE(reinterpret_cast<const char*>(span.data()), end) << name;
        EXPECT_EQ(reinterpret_cast<uintptr_t>(span.data()) % 16, 0u) << name;
        EXPECT_EQ(span.size(), static_cast<size_t>(elements)) << name;
        end = reinterpret_cast<const char*>(span.data() + span.size());
      });
  EXPECT_LE(end, block.bytes().data() + block.bytes().size());
  EXPECT_EQ(block.bytes().size(), StepBlock::Bytes(kCounts));
}

TEST(FlatBlockTest, ABlockComesOutOfItsBytesAsItWas) {
  const auto block = Numbered<StepBlock>(kCounts);
  // Bytes from a socket lie anywhere.
  const std::string shifted = "x" + std::string(block.bytes());
  const auto parsed = StepBlock::Parse(absl::string_view(shifted).substr(1));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->bytes(), block.bytes());
  EXPECT_EQ(parsed->arrays().kv_lengths, block.arrays().kv_lengths);
  EXPECT_EQ(parsed->arrays().table_entries[0].block, block.arrays().table_entries[0].block);
}

TEST(FlatBlockTest, PointersIntoACopyFindTheSameElements) {
  const auto block = Numbered<SamplingBlock>({.num_logit_rows = 2, .num_score_rows = 3});
  alignas(16) std::byte copy[512];
  ASSERT_LE(block.bytes().size(), sizeof(copy));
  std::memcpy(copy, block.bytes().data(), block.bytes().size());
  const SamplingBlock::Pointers pointers = SamplingBlock::PointersInto(block.counts(), copy);
  const SamplingBlock::ConstArrays arrays = block.arrays();
  EXPECT_EQ(pointers.logit_rows[1], arrays.logit_rows[1]);
  EXPECT_EQ(pointers.sampling[1].seed, arrays.sampling[1].seed);
  EXPECT_EQ(pointers.score_targets[2], arrays.score_targets[2]);
}

TEST(FlatBlockTest, ArraysStayTheSameWhenABlockMoves) {
  StepBlock block(kCounts);
  block.arrays().slots[1] = 9;
  StepBlock moved = std::move(block);
  EXPECT_THAT(moved.arrays().slots, ElementsAre(0, 9));
}

TEST(FlatBlockTest, MemoryComesFromWhereTheOwnerWantsIt) {
  alignas(16) std::byte memory[1024];
  std::pmr::monotonic_buffer_resource pinned(memory, sizeof(memory),
                                             std::pmr::null_memory_resource());
  const StepBlock block(kCounts, &pinned);
  const auto* const first = reinterpret_cast<const std::byte*>(block.bytes().data());
  EXPECT_TRUE(first >= memory && first < memory + sizeof(memory));
}

std::string ErrorOf(absl::string_view bytes) {
  const auto block = StepBlock::Parse(bytes);
  EXPECT_EQ(block.status().code(), absl::StatusCode::kInternal);
  return std::string(block.status().message());
}

TEST(FlatBlockTest, RefusesBytesThatAreNoBlock) {
  const StepBlock block(kCounts);
  const std::string bytes(block.bytes());
  EXPECT_THAT(ErrorOf(""), HasSubstr("0 bytes"));
  EXPECT_THAT(ErrorOf(bytes.substr(0, 8)), HasSubstr("8 bytes"));
  EXPECT_THAT(ErrorOf(bytes.substr(0, bytes.size() - 1)), HasSubstr("contradict"));
  EXPECT_THAT(ErrorOf(bytes + '\0'), HasSubstr("contradict"));
  std::string other_version = bytes;
  other_version[0] ^= 1;
  EXPECT_THAT(ErrorOf(other_version), HasSubstr("version"));
}

TEST(FlatBlockTest, RefusesEveryCountThatTheBytesDoNotHold) {
  const std::string bytes(StepBlock(kCounts).bytes());
  // The counts follow the version.
  for (const size_t offset : {8, 12, 16}) {
    for (const int32_t count : {-1, 1000, INT32_MIN, INT32_MAX}) {
      std::string bad = bytes;
      std::memcpy(bad.data() + offset, &count, sizeof(count));
      EXPECT_THAT(ErrorOf(bad), HasSubstr("contradict")) << offset << ": " << count;
    }
  }
}

TEST(FlatBlockTest, ABlockOfOneListIsNotTakenForOneOfTheOther) {
  const SamplingBlock sampling({.num_logit_rows = 1, .num_score_rows = 1});
  EXPECT_THAT(ErrorOf(sampling.bytes()), HasSubstr("version"));
}

}  // namespace
}  // namespace phalanx
