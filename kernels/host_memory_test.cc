#include "kernels/host_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"
#include "gtest/gtest.h"

namespace phalanx::kernels {
namespace {

TEST(HostBufferTest, IsZeroedAlignedAndWritable) {
  for (size_t bytes : {size_t{1}, size_t{4097}, size_t{3} << 20}) {
    auto buffer = HostBuffer::Create(bytes);
    ASSERT_TRUE(buffer.ok()) << buffer.status();
    EXPECT_EQ((*buffer)->bytes(), bytes);
    auto* data = static_cast<uint8_t*>((*buffer)->data());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % kTensorAlignment, 0u);
    EXPECT_EQ(data[0], 0);
    EXPECT_EQ(data[bytes - 1], 0);
    data[bytes - 1] = 7;
    EXPECT_EQ(data[bytes - 1], 7);
  }
}

TEST(HostBufferTest, MayBeEmpty) {
  auto buffer = HostBuffer::Create(0);
  ASSERT_TRUE(buffer.ok()) << buffer.status();
  EXPECT_EQ((*buffer)->bytes(), 0u);
}

TEST(HostBufferTest, MoreThanTheAddressSpaceIsResourceExhausted) {
  const auto buffer = HostBuffer::Create(std::numeric_limits<size_t>::max() / 2);
  EXPECT_EQ(buffer.status().code(), absl::StatusCode::kResourceExhausted);
}

// How many of the buffer's pages have memory.
size_t PagesInMemory(HostBuffer& buffer) {
  std::vector<unsigned char> pages((buffer.bytes() + 4095) / 4096);
  EXPECT_EQ(mincore(buffer.data(), buffer.bytes(), pages.data()), 0);
  return std::count_if(pages.begin(), pages.end(), [](unsigned char page) { return page & 1; });
}

// All pieces on this thread.
void OneByOne(size_t pieces, absl::FunctionRef<void(size_t piece)> take) {
  for (size_t piece = 0; piece < pieces; ++piece) take(piece);
}

// Each piece on a thread of its own.
void AllAtOnce(size_t pieces, absl::FunctionRef<void(size_t piece)> take) {
  std::vector<std::thread> threads;
  for (size_t piece = 0; piece < pieces; ++piece) threads.emplace_back(take, piece);
  for (std::thread& thread : threads) thread.join();
}

TEST(HostBufferTest, TakesMemoryOnlyOnceItIsPopulated) {
  for (const size_t bytes : {size_t{5000}, (size_t{3} << 20) + 1, size_t{100} << 20}) {
    for (const bool at_once : {false, true}) {
      const std::unique_ptr<HostBuffer> buffer = *HostBuffer::Create(bytes);
      const size_t pages = (bytes + 4095) / 4096;
      EXPECT_LT(PagesInMemory(*buffer), pages);
      auto* const data = static_cast<uint8_t*>(buffer->data());
      data[bytes - 1] = 9;
      const absl::Status status =
          at_once ? buffer->Populate(AllAtOnce) : buffer->Populate(OneByOne);
      ASSERT_TRUE(status.ok()) << status;
      EXPECT_EQ(PagesInMemory(*buffer), pages) << bytes << " bytes, at once: " << at_once;
      EXPECT_EQ(data[bytes - 1], 9);
      EXPECT_EQ(std::count(data, data + bytes - 1, 0), static_cast<int64_t>(bytes) - 1);
    }
  }
}

TEST(HostBufferTest, MemoryThatIsNotThereIsNotPopulated) {
  const std::unique_ptr<HostBuffer> buffer = *HostBuffer::Create(size_t{1} << 20);
  // What is not mapped stands in for what the system does not have.
  ASSERT_EQ(munmap(buffer->data(), buffer->bytes()), 0);
  const absl::Status status = buffer->Populate(OneByOne);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(status.message().find("1048576 bytes"), std::string::npos) << status;
}

}  // namespace
}  // namespace phalanx::kernels
