#include "kernels/host_memory.h"

#include <cstdint>
#include <limits>

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

}  // namespace
}  // namespace phalanx::kernels
