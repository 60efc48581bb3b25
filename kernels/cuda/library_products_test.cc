// Products by cuBLASLt's stand-in: against the reference, and how algorithms are chosen and kept.
#include "kernels/cuda/library_products.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/bfloat16.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/testing/cublaslt_stand_in.h"
#include "kernels/cuda/testing/emulator.h"
#include "kernels/dequantize.h"
#include "kernels/reference/reference_backend.h"
#include "kernels/testing/aligned_vector.h"
#include "kernels/testing/random_linear.h"

namespace phalanx::kernels::cuda {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// Relative to the size of the terms: half the distance of a float to the next, for each input.
constexpr double kSummed = 0x1p-24;
// Between two numbers of bfloat16 that lie side by side, relative to them.
constexpr double kStored = 0x1p-7;

constexpr int64_t kInputs = 72;
constexpr int64_t kOutputs = 40;
constexpr int64_t kMostRows = 300;
constexpr WorkspaceLimits kLimits = {.max_tokens = kMostRows,
                                     .max_seqs = 100,
                                     .hidden = kInputs,
                                     .local_ffn = kOutputs,
                                     .local_vocab = 1000};

// A matrix in memory that both the host and the emulated device know.
class Values {
 public:
  Values(DType dtype, int64_t rows, int64_t cols, int seed) : dtype_(dtype), cols_(cols) {
    const std::vector<float> values = RandomFloats(static_cast<size_t>(rows * cols), seed);
    floats_.assign(values.begin(), values.end());
    for (const float value : values) halves_.push_back(FloatToBFloat16(value));
  }
  Tensor tensor() {
    const auto rows = static_cast<int64_t>(floats_.size()) / cols_;
    return {dtype_ == DType::kF32 ? static_cast<void*>(floats_.data()) : halves_.data(), dtype_,
            rows, cols_};
  }
  double at(size_t i) const {
    return dtype_ == DType::kF32 ? floats_[i] : BFloat16ToFloat(halves_[i]);
  }
  size_t size() const { return floats_.size(); }
  bool operator==(const Values& other) const {
    return dtype_ == DType::kF32 ? floats_ == other.floats_ : halves_ == other.halves_;
  }

 private:
  const DType dtype_;
  const int64_t cols_;
  AlignedVector<float> floats_;
  AlignedVector<uint16_t> halves_;
};

// A backend with bfloat16 activations, and its log.
class LibraryProductsTest : public testing::Test {
 protected:
  void Make(const CublasLtApi& api = CublasLtStandIn(),
            Determinism determinism = Determinism::kFast, std::string cache_folder = "") {
    backend_ = *MakeCudaBackend({.activations = DType::kBF16,
                                 .determinism = determinism,
                                 .library = CudaBackendOptions::Library{
                                     .api = api,
                                     .cache_folder = std::move(cache_folder),
                                     .log = [this](const auto& line) { log_.push_back(line); }}});
    stream_ = backend_->NewStream();
  }
  void Reserve() { ASSERT_TRUE(backend_->Reserve(kLimits).ok()); }
  void Synchronize() { ASSERT_TRUE(stream_->Synchronize().ok()); }

  // How many products the stand-in queues in `calls`.
  template <typename Calls>
  static int ProductsIn(Calls calls) {
    const int before = NumStandInProducts();
    calls();
    return NumStandInProducts() - before;
  }

  // Compares with the reference: sums of kInputs products, stored once.
  void ExpectNear(const RandomLinear& linear, const Values& x, const Values& out,
                  const Values& expected, DType stored) {
    for (int64_t o = 0; o < kOutputs; ++o) {
      const std::vector<float> w = linear.Row(o);
      for (size_t i = 0; i < out.size() / kOutputs; ++i) {
        double size = 10;  // Of the bias or residual.
        for (int64_t j = 0; j < kInputs; ++j) size += std::abs(w[j] * x.at(i * kInputs + j));
        const double truth = expected.at(i * kOutputs + o);
        const double rounding = stored == DType::kBF16 ? kStored * std::abs(truth) : 0.0;
        ASSERT_NEAR(out.at(i * kOutputs + o), truth,
                    rounding + static_cast<double>(kInputs + 2) * kSummed * size)
            << "row " << i << ", output " << o;
      }
    }
  }

  const std::unique_ptr<Backend> reference_ =
      MakeTypedReferenceBackend({.activations = DType::kBF16});
  const std::unique_ptr<Stream> reference_stream_ = reference_->NewStream();
  std::vector<std::string> log_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Stream> stream_;
  const RandomLinear linear_{DType::kBF16, kInputs, kOutputs, 1};
};

TEST_F(LibraryProductsTest, ProductsOfManyRowsAreThoseOfTheReference) {
  Make();
  Reserve();
  const auto packed = *backend_->PackLinear({linear_.source()});
  const auto truth = *reference_->PackLinear({linear_.source()});
  Values bias(DType::kF32, 1, kOutputs, 2);
  for (const int64_t rows : {65, 128, 129, 300}) {
    for (const DType dtype : {DType::kBF16, DType::kF32}) {
      for (const bool has_bias : {false, true}) {
        Values x(DType::kBF16, rows, kInputs, 3);
        Values out(dtype, rows, kOutputs, 4);
        Values expected(dtype, rows, kOutputs, 5);
        const Tensor added = has_bias ? bias.tensor() : Tensor{};
        EXPECT_GE(ProductsIn([&] {
                    backend_->Linear(*stream_, x.tensor(), *packed, added, out.tensor());
                  }),
                  1);
        reference_->Linear(*reference_stream_, x.tensor(), *truth, added, expected.tensor());
        Synchronize();
        ExpectNear(linear_, x, out, expected, dtype);
      }
    }
    Values x(DType::kBF16, rows, kInputs, 6);
    Values residual(DType::kF32, rows, kOutputs, 7);
    Values expected(DType::kF32, rows, kOutputs, 7);
    EXPECT_EQ(
        ProductsIn([&] { backend_->LinearAdd(*stream_, x.tensor(), *packed, residual.tensor()); }),
        1);
    reference_->LinearAdd(*reference_stream_, x.tensor(), *truth, expected.tensor());
    Synchronize();
    ExpectNear(linear_, x, residual, expected, DType::kF32);
  }
  EXPECT_THAT(log_, IsEmpty());
}

TEST_F(LibraryProductsTest, GatedProductsAreMadeInSlicesThatFitTheWorkspace) {
  Make();
  // Memory for 100 rows at a time.
  ASSERT_TRUE(backend_->Reserve({.max_tokens = 100, .max_seqs = 4, .local_ffn = kOutputs}).ok());
  const RandomLinear up(DType::kBF16, kInputs, kOutputs, 2);
  const auto packed = *backend_->PackGatedLinear(linear_.source(), up.source());
  const auto truth = *reference_->PackGatedLinear(linear_.source(), up.source());
  for (const auto& [rows, products] :
       std::map<int64_t, int>{{65, 2}, {100, 2}, {101, 4}, {301, 8}}) {
    Values x(DType::kBF16, rows, kInputs, 3);
    Values out(DType::kBF16, rows, kOutputs, 4);
    Values expected(DType::kBF16, rows, kOutputs, 5);
    EXPECT_EQ(
        ProductsIn([&] { backend_->GatedLinear(*stream_, x.tensor(), *packed, out.tensor()); }),
        products);
    reference_->GatedLinear(*reference_stream_, x.tensor(), *truth, expected.tensor());
    Synchronize();
    for (size_t i = 0; i < out.size(); ++i) {
      // The products are about 10 in size, and the gate's slope is at most 1.1.
      ASSERT_NEAR(out.at(i), expected.at(i), kStored * std::abs(expected.at(i)) + 1e-3) << i;
    }
  }
}

TEST_F(LibraryProductsTest, OurKernelsKeepWhatTheLibraryHasNoPartIn) {
  const auto products = [&](DType dtype, int64_t rows, int64_t inputs, int64_t outputs) {
    const RandomLinear linear(dtype, inputs, outputs, 1);
    const auto packed = *backend_->PackLinear({linear.source()});
    Values x(DType::kBF16, rows, inputs, 2);
    Values out(DType::kF32, rows, outputs, 3);
    const int count =
        ProductsIn([&] { backend_->Linear(*stream_, x.tensor(), *packed, {}, out.tensor()); });
    Synchronize();
    return count;
  };
  Make();
  Reserve();
  EXPECT_EQ(products(DType::kBF16, 65, 64, 40), 1);
  EXPECT_EQ(products(DType::kBF16, 64, 64, 40), 0) << "few rows";
  EXPECT_EQ(products(DType::kF16, 65, 64, 40), 0) << "of another type than the inputs";
  EXPECT_EQ(products(DType::kF32, 65, 64, 40), 0) << "of another type than the inputs";
  EXPECT_EQ(products(DType::kQ8_0, 65, 64, 40), 0) << "quantized";
  EXPECT_EQ(products(DType::kBF16, 65, 65, 40), 0) << "rows that begin anywhere";
  EXPECT_EQ(products(DType::kBF16, 65, 64, 41), 0) << "rows that begin anywhere";
  Make(CublasLtStandIn(), Determinism::kStrict);
  Reserve();
  EXPECT_EQ(products(DType::kBF16, 65, 64, 40), 0) << "strict";
}

TEST_F(LibraryProductsTest, AProductCanBeRecordedAndHasTheSameBitsAgain) {
  Make();
  const auto packed = *backend_->PackLinear({linear_.source()});
  Reserve();
  Values x(DType::kBF16, 200, kInputs, 2);
  Values first(DType::kBF16, 200, kOutputs, 3);
  Values replayed(DType::kBF16, 200, kOutputs, 4);
  backend_->Linear(*stream_, x.tensor(), *packed, {}, first.tensor());
  Synchronize();
  const auto recording = backend_->Record(*stream_, [&] {
    backend_->Linear(*stream_, x.tensor(), *packed, {}, replayed.tensor());
    return absl::OkStatus();
  });
  ASSERT_TRUE(recording.ok()) << recording.status();
  Synchronize();
  EXPECT_FALSE(replayed == first);
  EXPECT_EQ(ProductsIn([&] { backend_->Replay(*stream_, **recording); }), 0);
  Synchronize();
  EXPECT_TRUE(replayed == first);
}

TEST_F(LibraryProductsTest, TheWorkspaceHasRoomForTheLibrary) {
  Make(CublasLtStandIn(), Determinism::kStrict);
  const size_t without = backend_->WorkspaceBytes(kLimits);
  Make();
  EXPECT_EQ(backend_->WorkspaceBytes(kLimits) - without,
            kLibraryWorkspaceBytes + size_t{2 * kMostRows * kOutputs * sizeof(float)});
  EXPECT_THAT(backend_->Describe(), HasSubstr("cuBLASLt"));
}

TEST_F(LibraryProductsTest, ALibraryThatDoesNotStartIsToldAndDoneWithout) {
  CublasLtApi api = CublasLtStandIn();
  api.Create = [](CublasLtHandle*) { return CublasLtStatus::kNotInitialized; };
  Make(api);
  EXPECT_THAT(log_, ElementsAre(HasSubstr("the stand-in's words")));
  Reserve();
  const auto packed = *backend_->PackLinear({linear_.source()});
  Values x(DType::kBF16, 70, kInputs, 2);
  Values out(DType::kF32, 70, kOutputs, 3);
  EXPECT_EQ(ProductsIn([&] { backend_->Linear(*stream_, x.tensor(), *packed, {}, out.tensor()); }),
            0);
  Synchronize();
}

TEST_F(LibraryProductsTest, WhatTheLibraryRefusesOurKernelsDo) {
  CublasLtApi api = CublasLtStandIn();
  api.Matmul = [](auto...) { return CublasLtStatus::kNotSupported; };
  Make(api);
  Reserve();
  const auto packed = *backend_->PackLinear({linear_.source()});
  const auto truth = *reference_->PackLinear({linear_.source()});
  Values x(DType::kBF16, 70, kInputs, 2);
  Values out(DType::kF32, 70, kOutputs, 3);
  Values expected(DType::kF32, 70, kOutputs, 4);
  for (int i = 0; i < 3; ++i) {
    backend_->Linear(*stream_, x.tensor(), *packed, {}, out.tensor());
    Synchronize();
  }
  reference_->Linear(*reference_stream_, x.tensor(), *truth, {}, expected.tensor());
  ExpectNear(linear_, x, out, expected, DType::kF32);
  EXPECT_THAT(log_, ElementsAre(HasSubstr("left to our own kernels")));
}

// --- Choosing ---

// LibraryProducts alone, with times that the test makes up.
class ChoiceTest : public testing::Test {
 protected:
  ChoiceTest()
      : folder_(testing::TempDir() + "/products-" +
                testing::UnitTest::GetInstance()->current_test_info()->name()) {
    std::filesystem::remove_all(folder_);
    const size_t bytes = kOutputs * kInputs * sizeof(float);
    memory_ = *CudaBuffer::Create(0, bytes, "a test");
    workspace_ = *CudaBuffer::Create(0, kLibraryWorkspaceBytes, "a test");
    matrix_ = {.format = WeightFormat::kF32,
               .in_features = kInputs,
               .out_features = kOutputs,
               .data = memory_->bytes_at(0),
               .row_stride = kInputs};
  }

  // Starts anew: with a matrix of the vocabulary, so that there are few products to choose for.
  void Start(std::string device_name = "a GPU") {
    log_.clear();
    timed_.clear();
    products_ = *LibraryProducts::Create(
        CublasLtStandIn(),
        {.device_name = std::move(device_name),
         .least_rows = 65,
         .cache_folder = folder_,
         .log = [this](const std::string& line) { log_.push_back(line); },
         .time = [this](cudaStream_t stream,
                        absl::FunctionRef<absl::Status()> run) -> absl::StatusOr<absl::Duration> {
           if (absl::Status status = run(); !status.ok()) return status;
           cudaStreamSynchronize(stream);
           timed_.push_back(LastStandInAlgo());
           return times_.at(LastStandInAlgo());
         }});
    products_->AddMatrix(matrix_, LibraryProducts::Role::kLinear, memory_);
    products_->Prepare({.max_tokens = 512, .max_seqs = 200, .local_vocab = kOutputs},
                       {.workspace = workspace_->data()});
  }

  // The algorithm that a product of so many rows is made by.
  StandInAlgo AlgoFor(int64_t rows) {
    Values x(DType::kF32, rows, kInputs, 1);
    Values out(DType::kF32, rows, kOutputs, 2);
    EXPECT_TRUE(products_->Multiply(stream_->handle(), x.tensor(), matrix_,
                                    {.data = out.tensor().data, .row_stride = kOutputs}));
    EXPECT_TRUE(stream_->Synchronize().ok());
    return LastStandInAlgo();
  }

  std::string OnlyFile() const {
    const std::filesystem::directory_iterator files(folder_);
    EXPECT_NE(files, std::filesystem::directory_iterator());
    return files->path().string();
  }

  const std::string folder_;
  std::map<StandInAlgo, absl::Duration> times_ = {{StandInAlgo::kSplit, absl::Microseconds(20)},
                                                  {StandInAlgo::kSimple, absl::Microseconds(10)}};
  std::vector<StandInAlgo> timed_;
  std::vector<std::string> log_;
  std::shared_ptr<CudaBuffer> memory_;
  std::unique_ptr<CudaBuffer> workspace_;
  DeviceMatrix matrix_;
  const std::unique_ptr<CudaStream> stream_ = *CudaStream::Create(0);
  std::unique_ptr<LibraryProducts> products_;
};

TEST_F(ChoiceTest, TheFastestOfThoseThatRunIsUsed) {
  Start();
  // For up to 128 rows and for up to 256; the others are impossible or unwanted.
  EXPECT_THAT(timed_, ElementsAre(StandInAlgo::kSplit, StandInAlgo::kSimple, StandInAlgo::kSplit,
                                  StandInAlgo::kSimple));
  EXPECT_EQ(AlgoFor(65), StandInAlgo::kSimple);
  EXPECT_EQ(AlgoFor(200), StandInAlgo::kSimple);
  EXPECT_THAT(log_, ElementsAre(HasSubstr("measuring the algorithms of cuBLASLt for 2 kinds"),
                                HasSubstr("measured 2 kinds")));
  std::filesystem::remove_all(folder_);
  times_[StandInAlgo::kSplit] = absl::Microseconds(5);
  Start();
  EXPECT_EQ(AlgoFor(65), StandInAlgo::kSplit);
}

TEST_F(ChoiceTest, WhatWasNotMeasuredTakesTheLibrarysFirstThought) {
  Start();
  EXPECT_EQ(AlgoFor(257), StandInAlgo::kSplit);
}

TEST_F(ChoiceTest, ASecondStartMeasuresNothing) {
  Start();
  Start();
  EXPECT_THAT(timed_, IsEmpty());
  EXPECT_EQ(AlgoFor(100), StandInAlgo::kSimple);
  EXPECT_THAT(log_, ElementsAre(HasSubstr("2 kinds of products are known")));
  Start("another GPU");
  EXPECT_EQ(timed_.size(), 4u);
}

TEST_F(ChoiceTest, AFileThatIsBrokenIsIgnoredAndReplaced) {
  Start();
  std::ofstream(OnlyFile()) << "phalanx products 1\n";
  Start();
  EXPECT_EQ(timed_.size(), 4u);
  EXPECT_THAT(
      log_, ElementsAre(HasSubstr("is not used: "), HasSubstr("measuring"), HasSubstr("measured")));
  Start();
  EXPECT_THAT(timed_, IsEmpty());
}

TEST_F(ChoiceTest, AnAlgorithmThatTheLibraryDoesNotTakeIsMeasuredAnew) {
  Start();
  const ProductDevice device = {.name = "a GPU", .library_version = 130100};
  const ProductShape shape = {.outputs = kOutputs,
                              .inputs = kInputs,
                              .most_rows = 128,
                              .in_type = DType::kF32,
                              .out_type = DType::kF32};
  CublasLtAlgo unknown;
  unknown.data[0] = 1;
  ASSERT_TRUE(WriteChoices(folder_, device, {{shape, unknown}}).ok());
  Start();
  EXPECT_THAT(timed_, ElementsAre(StandInAlgo::kSplit, StandInAlgo::kSimple));
  EXPECT_EQ(AlgoFor(100), StandInAlgo::kSimple);
}

TEST_F(ChoiceTest, WithoutMemoryNothingIsMeasured) {
  emulator::SetDevices(1, kLibraryWorkspaceBytes + (size_t{64} << 10));
  Start();
  EXPECT_THAT(timed_, IsEmpty());
  EXPECT_THAT(log_, ElementsAre(HasSubstr("are not measured")));
  EXPECT_EQ(AlgoFor(100), StandInAlgo::kSplit);
  emulator::SetDevices(1, size_t{4} << 30);
}

TEST_F(ChoiceTest, AFolderThatCannotBeWrittenIsTold) {
  std::ofstream(folder_) << "a file";
  Start();
  EXPECT_THAT(log_, testing::Contains(HasSubstr("is not kept for the next start")));
  EXPECT_EQ(AlgoFor(100), StandInAlgo::kSimple);
}

TEST_F(ChoiceTest, AMatrixThatIsGoneIsNotMeasured) {
  Start();
  timed_.clear();
  std::filesystem::remove_all(folder_);
  memory_.reset();
  products_->Prepare({.max_tokens = 512, .max_seqs = 200, .local_vocab = kOutputs},
                     {.workspace = workspace_->data()});
  EXPECT_THAT(timed_, IsEmpty());
}

TEST_F(ChoiceTest, EventsTellTheMedian) {
  int runs = 0;
  const auto time = TimeByEvents(stream_->handle(), [&] {
    emulator::Enqueue(stream_->handle(), [] {});
    ++runs;
    return absl::OkStatus();
  });
  ASSERT_TRUE(time.ok()) << time.status();
  EXPECT_GE(*time, absl::ZeroDuration());
  EXPECT_EQ(runs, 6);
  EXPECT_FALSE(TimeByEvents(stream_->handle(), [] { return absl::InternalError("no"); }).ok());
}

}  // namespace
}  // namespace phalanx::kernels::cuda
