#include "kernels/cuda/cublaslt_api.h"

#include <cstdlib>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "gtest/gtest.h"

namespace phalanx::kernels::cuda {
namespace {

void UseFakeLibrary(const char* version) {
  const std::string path = std::string(std::getenv("TEST_SRCDIR")) + "/" +
                           std::getenv("TEST_WORKSPACE") +
                           "/kernels/cuda/testing/libfake_cublaslt.so";
  setenv("PHALANX_CUBLASLT", path.c_str(), 1);
  setenv("FAKE_CUBLASLT_VERSION", version, 1);
}

TEST(LoadCublasLtTest, FillsTheTableFromTheLibraryThatIsChosen) {
  UseFakeLibrary("130100");
  const auto api = LoadCublasLt();
  ASSERT_TRUE(api.ok()) << api.status();
  EXPECT_EQ(api->GetVersion(), 130100u);
  EXPECT_STREQ(api->GetStatusString(CublasLtStatus::kInvalidValue), "the status");
  const auto number = [](CublasLtStatus status) { return static_cast<int>(status); };
  EXPECT_EQ(number(api->Create(nullptr)), 100);
  EXPECT_EQ(number(api->Destroy(nullptr)), 101);
  EXPECT_EQ(number(api->MatmulDescCreate(nullptr, CublasLtComputeType::kFloat32, CUDA_R_32F)), 102);
  EXPECT_EQ(number(api->MatmulDescDestroy(nullptr)), 103);
  EXPECT_EQ(
      number(api->MatmulDescSetAttribute(nullptr, CublasLtDescAttribute::kTransA, nullptr, 0)),
      104);
  EXPECT_EQ(number(api->MatrixLayoutCreate(nullptr, CUDA_R_32F, 1, 1, 1)), 105);
  EXPECT_EQ(number(api->MatrixLayoutDestroy(nullptr)), 106);
  EXPECT_EQ(number(api->MatmulPreferenceCreate(nullptr)), 107);
  EXPECT_EQ(number(api->MatmulPreferenceDestroy(nullptr)), 108);
  EXPECT_EQ(number(api->MatmulPreferenceSetAttribute(
                nullptr, CublasLtPreferenceAttribute::kMaxWorkspaceBytes, nullptr, 0)),
            109);
  EXPECT_EQ(number(api->MatmulAlgoGetHeuristic(nullptr, nullptr, nullptr, nullptr, nullptr, nullptr,
                                               nullptr, 0, nullptr, nullptr)),
            110);
  EXPECT_EQ(number(api->MatmulAlgoCheck(nullptr, nullptr, nullptr, nullptr, nullptr, nullptr,
                                        nullptr, nullptr)),
            111);
  EXPECT_EQ(
      number(api->Matmul(nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr,
                         nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, 0, nullptr)),
      112);
}

TEST(LoadCublasLtTest, AnOldLibraryIsRefusedWithBothVersions) {
  UseFakeLibrary("111103");
  const absl::Status status = LoadCublasLt().status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "is cuBLASLt 11.11.3; 12.0.0 or later"))
      << status;
  UseFakeLibrary("120000");
  EXPECT_TRUE(LoadCublasLt().ok());
}

TEST(LoadCublasLtTest, AFileThatIsMissingIsToldWithWaysToGetIt) {
  setenv("PHALANX_CUBLASLT", "/nowhere/libcublasLt.so.13", 1);
  const absl::Status status = LoadCublasLt().status();
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  for (const char* part :
       {"/nowhere/libcublasLt.so.13", "PHALANX_CUBLASLT", "libcublas-13-0", "nvidia-cublas"}) {
    EXPECT_TRUE(absl::StrContains(status.message(), part)) << status;
  }
}

TEST(LoadCublasLtTest, ALibraryThatIsAnotherOneIsRefused) {
  setenv("PHALANX_CUBLASLT", "libc.so.6", 1);
  const absl::Status status = LoadCublasLt().status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "cublasLtGetVersion")) << status;
}

TEST(LoadCublasLtTest, WithoutAChoiceTheSystemIsAskedForBothVersions) {
  setenv("PHALANX_CUBLASLT", "", 1);
  const absl::Status status = LoadCublasLt().status();
  if (status.ok()) GTEST_SKIP() << "this machine has cuBLASLt";
  EXPECT_TRUE(absl::StrContains(status.message(),
                                "libcublasLt.so.13 and libcublasLt.so.12, in LD_LIBRARY_PATH"))
      << status;
}

}  // namespace
}  // namespace phalanx::kernels::cuda
