// GPUs whose blocks have less shared memory than an H100's: the emulator ends a program that asks
// for more.
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/testing/bfloat16_attention_run.h"
#include "kernels/cuda/testing/bfloat16_matrix.h"
#include "kernels/cuda/testing/emulator.h"
#include "kernels/testing/random_linear.h"

namespace phalanx::kernels {
namespace {

using bfloat16::AttentionRun;
using bfloat16::Heads;
using bfloat16::kFrequency;
using bfloat16::MakeSequences;
using bfloat16::Sequence;

constexpr size_t kT4 = size_t{64} << 10;
constexpr size_t kV100 = size_t{96} << 10;
constexpr size_t kL4 = size_t{99} << 10;  // Of compute capability 8.6, 8.9 and 12.0.
constexpr size_t kH100 = size_t{227} << 10;

class SharedMemoryTest : public testing::Test {
 protected:
  ~SharedMemoryTest() override { cuda::emulator::SetMaxSharedBytes(kH100); }

  static std::unique_ptr<Backend> MakeBackend(size_t shared_bytes) {
    cuda::emulator::SetMaxSharedBytes(shared_bytes);
    auto backend = *MakeCudaBackend({.activations = DType::kBF16});
    EXPECT_TRUE(backend
                    ->Reserve({.max_tokens = 256,
                               .max_seqs = 4,
                               .local_q_heads = 3,
                               .head_dim = 128,
                               .max_blocks_per_seq = 64})
                    .ok());
    return backend;
  }

  // The outputs of `s`, whose last token is in a step of its own if it is to be.
  static std::vector<uint16_t> Attend(size_t shared_bytes, KvDType dtype, const Heads& heads,
                                      bool last_alone) {
    const auto backend = MakeBackend(shared_bytes);
    constexpr int kTokens = 270;
    int num_blocks = 0;
    std::vector<Sequence> s = MakeSequences(heads, {kTokens}, &num_blocks);
    AttentionRun run(*backend, heads, num_blocks, dtype, kFrequency);
    std::vector<uint16_t> out;
    const int first = last_alone ? kTokens - 1 : kTokens;
    for (const auto& [begin, count] : {std::pair(0, first), {first, kTokens - first}}) {
      if (count == 0) continue;
      const auto part = run.Step({{&s[0], begin, count}}, /*together=*/true);
      out.insert(out.end(), part.begin(), part.end());
    }
    return out;
  }
};

TEST_F(SharedMemoryTest, AttentionRunsWithAnyAndDecodesHaveTheBitsOfPrompts) {
  for (const Heads& heads : {Heads{3, 1, 128}, Heads{3, 1, 64}}) {
    for (const KvDType dtype : {KvDType::kBF16, KvDType::kInt8}) {
      const auto expected = Attend(kH100, dtype, heads, false);
      for (const size_t bytes : {kT4, kV100, kL4}) {
        const auto out = Attend(bytes, dtype, heads, false);
        // On the tensor cores it is the same whatever a block keeps in registers.
        const bool suits = bytes != kT4 || heads.head_dim == 64 || dtype == KvDType::kInt8;
        EXPECT_EQ(out == expected, suits) << bytes << ", heads of " << heads.head_dim;
        EXPECT_EQ(Attend(bytes, dtype, heads, true), out)
            << bytes << ", heads of " << heads.head_dim;
      }
    }
  }
}

TEST_F(SharedMemoryTest, ProductsRunWithAnyAndHaveTheSameBits) {
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kQ8_0}) {
    const RandomLinear random(dtype, 3072, 32, 1);
    // The sums over many rows and the norm of few take the most.
    for (const int64_t rows : {8, 64, 65}) {
      std::vector<AlignedVector<uint16_t>> outs;
      for (const size_t bytes : {kH100, kL4, kV100, kT4}) {
        const auto backend = MakeBackend(bytes);
        const auto stream = backend->NewStream();
        const auto gated = *backend->PackGatedLinear(random.source(), random.source());
        FloatMatrix residual(rows, 3072, 0.75f);
        FloatMatrix weight(1, 3072, 1.5f);
        BFloat16Matrix memory(rows, 3072);
        BFloat16Matrix out(rows, 32);
        backend->NormGatedLinear(*stream, residual.tensor(), weight.tensor(), 1e-5f,
                                 memory.tensor(), *gated, out.tensor());
        ASSERT_TRUE(stream->Synchronize().ok());
        outs.push_back(out.bits());
        EXPECT_EQ(outs.back(), outs.front()) << DTypeName(dtype) << ", " << rows << " rows";
      }
    }
  }
}

}  // namespace
}  // namespace phalanx::kernels
