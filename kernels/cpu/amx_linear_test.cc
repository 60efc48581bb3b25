// What the kernels for tiles touch; what they compute, int8_linear_test.cc and bf16_linear_test.cc
// say for all levels.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "kernels/cpu/bf16_format.h"
#include "kernels/cpu/cpu_facts.h"
#include "kernels/cpu/cpu_level.h"
#include "kernels/cpu/int8_format.h"
#include "kernels/cpu/stand_in_kernels.h"
#include "kernels/testing/aligned_vector.h"
#include "kernels/testing/random_linear.h"

namespace phalanx::kernels {
namespace {

// Memory that ends where none may be read.
class GuardedBytes {
 public:
  explicit GuardedBytes(size_t size) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t usable = (size + page - 1) / page * page;
    mapped_bytes_ = usable + page;
    void* const mapped = mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, /*fd=*/-1, /*offset=*/0);
    if (mapped == MAP_FAILED) return;
    mapped_ = static_cast<std::byte*>(mapped);
    is_valid_ = mprotect(mapped_ + usable, page, PROT_NONE) == 0;
    data_ = mapped_ + usable - size;
  }
  GuardedBytes(const GuardedBytes&) = delete;
  GuardedBytes& operator=(const GuardedBytes&) = delete;
  ~GuardedBytes() {
    if (mapped_ != nullptr) munmap(mapped_, mapped_bytes_);
  }

  bool is_valid() const { return is_valid_; }
  std::byte* data() { return data_; }

 private:
  bool is_valid_ = false;
  size_t mapped_bytes_ = 0;
  std::byte* mapped_ = nullptr;
  std::byte* data_ = nullptr;
};

constexpr int64_t kInFeatures = 512;
constexpr int64_t kOutFeatures = 20;

// Multiplies rows that end where memory does.
void MultiplyGuardedRows(const LinearFormat& format, DType dtype, int64_t rows) {
  const RandomLinear linear(dtype, kInFeatures, kOutFeatures, 1);
  PackedMatrix matrix = {.format = &format,
                         .data = nullptr,
                         .dtype = dtype,
                         .in_features = kInFeatures,
                         .out_features = kOutFeatures};
  AlignedVector<std::byte> weights(matrix.bytes());
  format.Pack(matrix, linear.source().rows, 0, matrix.groups(), weights.data());
  matrix.data = weights.data();
  const std::vector<float> x = RandomFloats(rows * kInFeatures, 2);
  AlignedVector<float> out(rows * kOutFeatures);
  GuardedBytes prepared(format.PreparedBytes(rows, kInFeatures));
  ASSERT_TRUE(prepared.is_valid());
  LinearTask task = {.weights = &matrix,
                     .x = x.data(),
                     .rows = rows,
                     .prepared = prepared.data(),
                     .out = out.data(),
                     .out_stride = kOutFeatures};
  format.Prepare(task, 0, format.PrepareParts(rows), prepared.data());
  format.Run(task, 0, matrix.groups());
}

// Tiles of the last rows of a task, which have fewer than others, must not load those that a full
// one would have; nobody would see it in the outputs.
TEST(AmxLinearTest, ProductsOfBytesReadNoFurtherThanTheirInputs) {
  if (const absl::Status status = CheckCpuLevel(CpuLevel::kAvx512Vnni, ReadCpuFacts());
      !status.ok()) {
    GTEST_SKIP() << status.message();
  }
  const Int8Format format(EmulatedAmxKernels()->int8);
  for (const DType dtype : {DType::kQ4_1, DType::kQ6_K}) {
    for (const int64_t rows : {8, 9, 17, 33, 129}) MultiplyGuardedRows(format, dtype, rows);
  }
}

TEST(AmxLinearTest, ProductsOfBfloat16ReadNoFurtherThanTheirInputs) {
  const CpuFacts facts = ReadCpuFacts();
  if (const absl::Status status = CheckCpuLevel(CpuLevel::kAvx512Vnni, facts); !status.ok()) {
    GTEST_SKIP() << status.message();
  }
  if (!facts.avx512_bf16) GTEST_SKIP() << "this machine lacks AVX-512 BF16";
  const Bf16Format format(EmulatedAmxKernels()->bf16);
  for (const DType dtype : {DType::kBF16, DType::kQ4_1, DType::kQ6_K}) {
    for (const int64_t rows : {1, 8, 17, 33, 129}) MultiplyGuardedRows(format, dtype, rows);
  }
}

}  // namespace
}  // namespace phalanx::kernels
