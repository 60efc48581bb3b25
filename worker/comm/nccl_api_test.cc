#include "worker/comm/nccl_api.h"

#include <cstdlib>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

void UseFakeLibrary(const char* version) {
  const std::string path = std::string(std::getenv("TEST_SRCDIR")) + "/" +
                           std::getenv("TEST_WORKSPACE") + "/worker/comm/testing/libfake_nccl.so";
  setenv("PHALANX_NCCL", path.c_str(), 1);
  if (version == nullptr) {
    unsetenv("FAKE_NCCL_VERSION");
  } else {
    setenv("FAKE_NCCL_VERSION", version, 1);
  }
}

TEST(LoadNcclTest, FillsTheTableFromTheLibraryThatIsChosen) {
  UseFakeLibrary("22809");
  const auto api = LoadNccl();
  ASSERT_TRUE(api.ok()) << api.status();
  const auto number = [](NcclResult result) { return static_cast<int>(result); };
  NcclUniqueId id = {};
  NcclComm comm = nullptr;
  NcclConfig config;
  NcclResult error = NcclResult::kSuccess;
  EXPECT_EQ(number(api->GetUniqueId(&id)), 100);
  EXPECT_EQ(number(api->CommInitRankConfig(&comm, 2, id, 0, &config)), 101);
  EXPECT_EQ(number(api->CommGetAsyncError(comm, &error)), 102);
  EXPECT_EQ(number(api->CommAbort(comm)), 103);
  EXPECT_EQ(number(api->CommFinalize(comm)), 104);
  EXPECT_EQ(number(api->CommDestroy(comm)), 105);
  EXPECT_EQ(number(api->AllReduce(&id, &id, 1, NcclType::kUint64, NcclOp::kSum, comm, nullptr)),
            106);
  EXPECT_EQ(number(api->AllGather(&id, &id, 1, NcclType::kUint64, comm, nullptr)), 107);
  EXPECT_EQ(number(api->Broadcast(&id, &id, 1, NcclType::kUint8, 0, comm, nullptr)), 108);
}

TEST(LoadNcclTest, AnOldLibraryIsRefusedWithBothVersions) {
  UseFakeLibrary("21705");
  const absl::Status status = LoadNccl().status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "is NCCL 2.17.5; 2.18.0 or later")) << status;
  UseFakeLibrary("21800");
  EXPECT_TRUE(LoadNccl().ok());
}

TEST(LoadNcclTest, AVersionThatCannotBeToldIsAnError) {
  UseFakeLibrary(nullptr);
  const absl::Status status = LoadNccl().status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "\"the error\": its reason")) << status;
}

TEST(LoadNcclTest, AFileThatIsMissingIsToldWithWaysToGetIt) {
  setenv("PHALANX_NCCL", "/nowhere/libnccl.so.2", 1);
  const absl::Status status = LoadNccl().status();
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  for (const char* part : {"/nowhere/libnccl.so.2", "PHALANX_NCCL", "libnccl2", "nvidia-nccl"}) {
    EXPECT_TRUE(absl::StrContains(status.message(), part)) << status;
  }
}

TEST(LoadNcclTest, ALibraryThatIsNotNcclIsRefused) {
  setenv("PHALANX_NCCL", "libc.so.6", 1);
  const absl::Status status = LoadNccl().status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "ncclGetVersion")) << status;
}

TEST(LoadNcclTest, WithoutAChoiceTheSystemIsAsked) {
  setenv("PHALANX_NCCL", "", 1);
  const absl::Status status = LoadNccl().status();
  if (status.ok()) GTEST_SKIP() << "this machine has NCCL";
  EXPECT_TRUE(absl::StrContains(status.message(), "libnccl.so.2, in LD_LIBRARY_PATH")) << status;
}

NcclApi FakeWords() {
  NcclApi api;
  api.GetErrorString = [](NcclResult) { return "the error"; };
  api.GetLastError = [](NcclComm) { return ""; };
  return api;
}

TEST(NcclStatusTest, FaultsOfOursAreInternalAndOthersUnavailable) {
  const NcclApi api = FakeWords();
  const auto code = [&](NcclResult result) { return NcclStatus(api, nullptr, result, "x").code(); };
  EXPECT_EQ(code(NcclResult::kSuccess), absl::StatusCode::kOk);
  EXPECT_EQ(code(NcclResult::kInProgress), absl::StatusCode::kOk);
  EXPECT_EQ(code(NcclResult::kInvalidArgument), absl::StatusCode::kInternal);
  EXPECT_EQ(code(NcclResult::kInvalidUsage), absl::StatusCode::kInternal);
  EXPECT_EQ(code(NcclResult::kUnhandledCudaError), absl::StatusCode::kUnavailable);
  EXPECT_EQ(code(NcclResult::kSystemError), absl::StatusCode::kUnavailable);
  EXPECT_EQ(code(NcclResult::kInternalError), absl::StatusCode::kUnavailable);
  EXPECT_EQ(code(NcclResult::kRemoteError), absl::StatusCode::kUnavailable);
  EXPECT_EQ(NcclStatus(api, nullptr, NcclResult::kRemoteError, "a sum").message(),
            "a sum: NCCL says \"the error\"");
}

}  // namespace
}  // namespace phalanx
