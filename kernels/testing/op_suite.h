// The suite of tests that every backend has to pass: one fixture for each op of op_list.h, run on
// all backends of a program, see AllBackends.
//
// A backend joins by a line there. An op joins by a fixture, made and instantiated by
// PHALANX_OP_SUITE, and its tests; coverage_test.cc fails while it has none.
#ifndef PHALANX_KERNELS_TESTING_OP_SUITE_H_
#define PHALANX_KERNELS_TESTING_OP_SUITE_H_

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "kernels/op_list.h"
#include "kernels/ops.h"
#include "kernels/reference/reference_backend.h"
#include "kernels/testing/matrix.h"
#include "kernels/testing/op_recorder.h"
#include "kernels/testing/random_linear.h"

namespace phalanx::kernels {

// Half the distance from 1 to the next float: the error of one rounding, relative to the result.
inline constexpr double kRounding = 0x1p-24;

// Bound on the relative error of n roundings in a row. Source: Higham 2002, "Accuracy and Stability
// of Numerical Algorithms", lemma 3.1.
constexpr double Roundings(double n) { return n * kRounding / (1 - n * kRounding); }

// What a backend rounds before it multiplies, besides what all do.
enum class ProductRounding {
  kNone,
  kInt8,  // Inputs of quantized weights, to 8 bits with a scale for each 32.
  kBf16,  // Inputs and weights, to bfloat16. Weights of float types are kept so.
};

// A backend under test.
struct BackendUnderTest {
  const char* name;
  // Fails where this machine cannot run it; the tests are then skipped, with the status as reason.
  std::function<absl::StatusOr<std::unique_ptr<Backend>>()> make;
  // What it takes for KV caches.
  std::vector<KvDType> kv_dtypes = {std::begin(kAllKvDTypes), std::end(kAllKvDTypes)};
  ProductRounding rounding = ProductRounding::kNone;
};

// For GoogleTest's messages.
inline void PrintTo(const BackendUnderTest& backend, std::ostream* to) { *to << backend.name; }

// Those that the test program was built with: host_backends.cc has those of CPUs.
std::vector<BackendUnderTest> AllBackends();

// Has the backend under test, and the reference to compare it with.
class BackendTest : public testing::TestWithParam<BackendUnderTest> {
 protected:
  void SetUp() override {
    auto backend = GetParam().make();
    if (!backend.ok()) GTEST_SKIP() << GetParam().name << ": " << backend.status();
    backend_ = std::make_unique<OpRecorder>(*std::move(backend));
    stream_ = backend_->NewStream();
    // Enough for every test.
    ASSERT_TRUE(backend_
                    ->Reserve({.max_tokens = 128,
                               .max_seqs = 64,
                               .hidden = 512,
                               .local_q_heads = 9,
                               .head_dim = 128,
                               .local_ffn = 512,
                               .local_vocab = 2048,
                               .max_blocks_per_seq = 64})
                    .ok());
  }

  // Whether bits of a row may differ with the other rows.
  bool MayDependOnTheBatch() const { return backend_->determinism() != Determinism::kStrict; }

  const std::unique_ptr<Backend> reference_ = MakeReferenceBackend();
  std::unique_ptr<OpRecorder> backend_;
  std::unique_ptr<Stream> stream_;
};

// Tests of one op: each must call it on the backend under test.
class OpTest : public BackendTest {
 protected:
  explicit OpTest(Op op) : op_(op) {}

  void TearDown() override {
    if (IsSkipped()) return;
    EXPECT_EQ(backend_->called().count(op_), 1u) << "does not call " << OpName(op_);
  }

 private:
  const Op op_;
};

// Runs the tests of `fixture`, a class derived from BackendTest, on all backends.
#define PHALANX_ON_ALL_BACKENDS(fixture)                                              \
  INSTANTIATE_TEST_SUITE_P(AllBackends, fixture, testing::ValuesIn(AllBackends()),    \
                           [](const testing::TestParamInfo<BackendUnderTest>& info) { \
                             return std::string(info.param.name);                     \
                           })

// Defines the fixture NAMETest of an op, derived from `base` (OpTest, or a class of the same
// constructor that is derived from it), and runs its tests on all backends.
#define PHALANX_OP_SUITE(op, base)  \
  class op##Test : public base {    \
   protected:                       \
    op##Test() : base(Op::k##op) {} \
  };                                \
  PHALANX_ON_ALL_BACKENDS(op##Test)

inline std::unique_ptr<PackedLinear> Pack(Backend& backend, const RandomLinear& linear) {
  return *backend.PackLinear({linear.source()});
}

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_TESTING_OP_SUITE_H_
