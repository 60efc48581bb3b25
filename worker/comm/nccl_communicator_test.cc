// What NCCL does beyond what every transport does (testing/communicator_suite.h): it queues, forms
// late, fails late and has to be aborted with care.
#include "worker/comm/nccl_communicator.h"

#include <atomic>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/testing/emulator.h"
#include "worker/comm/testing/communicator_suite.h"
#include "worker/comm/testing/nccl_stand_in.h"

namespace phalanx {
namespace {

using kernels::DType;

const TransportUnderTest kTransport = {
    .name = "Nccl",
    .make_backend = []() -> std::unique_ptr<kernels::Backend> {
      return *kernels::MakeCudaBackend({.activations = DType::kF32});
    },
    .make_group = nullptr};

// Calls of NCCL, counted; CallCounts is what they are counted in.
struct CallCounts {
  std::atomic<int> running = 0;
  std::atomic<int> running_at_abort = 0;
  std::atomic<int> aborts = 0;
  std::atomic<int> destroys = 0;
  std::atomic<int> all_reduces = 0;
  std::atomic<int> all_gathers = 0;
  // How often CommGetAsyncError says kInProgress from here on.
  std::atomic<int> polls_in_progress = 0;
};
CallCounts* g_counts = nullptr;

// Counts a call as running while it lives.
class Running {
 public:
  Running() { ++g_counts->running; }
  ~Running() { --g_counts->running; }
};

NcclApi CountedApi() {
  NcclApi api = NcclStandIn();
  api.CommGetAsyncError = [](NcclComm comm, NcclResult* error) {
    const Running running;
    if (g_counts->polls_in_progress > 0) {
      --g_counts->polls_in_progress;
      *error = NcclResult::kInProgress;
      return NcclResult::kSuccess;
    }
    return NcclStandIn().CommGetAsyncError(comm, error);
  };
  api.CommAbort = [](NcclComm comm) {
    const Running running;
    ++g_counts->aborts;
    g_counts->running_at_abort += g_counts->running - 1;
    return NcclStandIn().CommAbort(comm);
  };
  api.CommDestroy = [](NcclComm comm) {
    ++g_counts->destroys;
    return NcclStandIn().CommDestroy(comm);
  };
  api.AllReduce = [](const void* send, void* receive, size_t count, NcclType type, NcclOp op,
                     NcclComm comm, cudaStream_t stream) {
    const Running running;
    ++g_counts->all_reduces;
    return NcclStandIn().AllReduce(send, receive, count, type, op, comm, stream);
  };
  api.AllGather = [](const void* send, void* receive, size_t count, NcclType type, NcclComm comm,
                     cudaStream_t stream) {
    const Running running;
    ++g_counts->all_gathers;
    return NcclStandIn().AllGather(send, receive, count, type, comm, stream);
  };
  return api;
}

class NcclCommunicatorTest : public testing::Test {
 protected:
  NcclCommunicatorTest() { g_counts = &counts_; }
  ~NcclCommunicatorTest() override {
    for (int rank = 0; rank < 4; ++rank) SetNcclStandInError(rank, NcclResult::kSuccess);
  }

  std::unique_ptr<NcclCommunicator> Create(const NcclUniqueId& id, int rank, int world,
                                           const NcclCommunicator::Options& options = {}) {
    auto communicator = NcclCommunicator::Create(api_, id, rank, world, options);
    CHECK_OK(communicator.status());
    return *std::move(communicator);
  }

  std::vector<std::unique_ptr<Communicator>> MakeGroup(
      int world, const NcclCommunicator::Options& options = {}) {
    const NcclUniqueId id = NewId();
    std::vector<std::unique_ptr<Communicator>> group;
    for (int rank = 0; rank < world; ++rank) group.push_back(Create(id, rank, world, options));
    return group;
  }

  static NcclUniqueId NewId() {
    NcclUniqueId id = {};
    EXPECT_EQ(NcclStandIn().GetUniqueId(&id), NcclResult::kSuccess);
    return id;
  }

  CallCounts counts_;
  NcclApi api_ = CountedApi();
};

kernels::Tensor OneFloat(float* data) { return {data, DType::kF32, 1, 1}; }

// --- Forming ---

TEST_F(NcclCommunicatorTest, TheFirstCallWaitsUntilAllHaveCome) {
  const NcclUniqueId id = NewId();
  const auto first = Create(id, 0, 2);
  std::atomic<bool> came = false;
  std::thread late([&] {
    came = true;
    EXPECT_TRUE(Create(id, 1, 2)->Barrier().ok());
  });
  EXPECT_TRUE(first->Barrier().ok());
  EXPECT_TRUE(came);
  late.join();
}

TEST_F(NcclCommunicatorTest, ARankThatIsNeverMadeFailsTheFirstCall) {
  const auto comm = Create(NewId(), 0, 2, {.timeout = absl::Milliseconds(20)});
  RankUnderTest rank(kTransport, comm.get());
  float* const data = rank.Allocate<float>(1);
  const absl::Status status = comm->AllReduceSum(rank.stream(), OneFloat(data));
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "not all of 2 ranks came")) << status;
  EXPECT_EQ(comm->Barrier(), status);
  EXPECT_EQ(comm->CheckQueued(), status);
  EXPECT_EQ(counts_.aborts, 1);
}

TEST_F(NcclCommunicatorTest, AbortEndsTheWaitForOthersToCome) {
  const auto comm = Create(NewId(), 0, 2);
  std::thread waiting([&] { EXPECT_TRUE(absl::IsAborted(comm->Barrier())); });
  comm->Abort();
  waiting.join();
}

TEST_F(NcclCommunicatorTest, AnErrorOfInitIsPassedOn) {
  api_.CommInitRankConfig = [](NcclComm*, int, NcclUniqueId, int, NcclConfig*) {
    return NcclResult::kInvalidUsage;
  };
  const absl::Status status = NcclCommunicator::Create(api_, NewId(), 0, 2, {}).status();
  EXPECT_TRUE(absl::IsInternal(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "NCCL says \"invalid usage\"")) << status;
}

TEST_F(NcclCommunicatorTest, AWorkspaceThatDoesNotFitIsTold) {
  kernels::cuda::emulator::SetDevices(1, 1 << 20);
  const absl::Status status = NcclCommunicator::Create(api_, NewId(), 0, 3, {}).status();
  kernels::cuda::emulator::SetDevices(1, size_t{4} << 30);
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "sums over ranks")) << status;
}

// --- Queueing ---

TEST_F(NcclCommunicatorTest, AQueuedCollectiveHoldsItsStreamUntilAbort) {
  const auto group = MakeGroup(2);
  RankUnderTest rank(kTransport, group[0].get());
  float* const data = rank.Upload<float>({1});
  ASSERT_TRUE(group[0]->AllReduceSum(rank.stream(), OneFloat(data)).ok());
  EXPECT_TRUE(group[0]->CheckQueued().ok());
  EXPECT_TRUE(absl::IsDeadlineExceeded(rank.stream().Synchronize(absl::Milliseconds(10))));
  std::thread([&] { group[0]->Abort(); }).join();
  EXPECT_TRUE(rank.stream().Synchronize(absl::Minutes(1)).ok());
  EXPECT_TRUE(absl::IsAborted(group[0]->CheckQueued()));
}

// NCCL connects the ranks on another thread when a collective is the first of its kind.
TEST_F(NcclCommunicatorTest, ACallThatIsInProgressIsAwaited) {
  const auto group = MakeGroup(2);
  RankUnderTest rank(kTransport, group[0].get());
  float* const data = rank.Upload<float>({1});
  ASSERT_TRUE(group[0]->AllReduceSum(rank.stream(), OneFloat(data)).ok());
  api_.AllReduce = [](const void*, void*, size_t, NcclType, NcclOp, NcclComm, cudaStream_t) {
    g_counts->polls_in_progress = 5;
    return NcclResult::kInProgress;
  };
  EXPECT_TRUE(group[0]->AllReduceSum(rank.stream(), OneFloat(data)).ok());
  EXPECT_EQ(counts_.polls_in_progress, 0);
  // Else the stream would wait for ever.
  group[0]->Abort();
}

TEST_F(NcclCommunicatorTest, ACallThatStaysInProgressFailsAfterTheTimeout) {
  api_.AllReduce = [](const void*, void*, size_t, NcclType, NcclOp, NcclComm, cudaStream_t) {
    g_counts->polls_in_progress = 1 << 30;
    return NcclResult::kInProgress;
  };
  const auto group = MakeGroup(2, {.timeout = absl::Milliseconds(10)});
  RankUnderTest rank(kTransport, group[0].get());
  float* const data = rank.Upload<float>({1});
  const absl::Status status = group[0]->AllReduceSum(rank.stream(), OneFloat(data));
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "a sum over ranks: a rank did not come"));
  counts_.polls_in_progress = 0;
}

// --- Sums ---

TEST_F(NcclCommunicatorTest, OnlyStrictSumsOfMoreThanTwoRanksAreOurOwn) {
  const struct {
    int world;
    kernels::Determinism determinism;
    int all_reduces;
    int all_gathers;
  } cases[] = {{2, kernels::Determinism::kStrict, 1, 0},
               {3, kernels::Determinism::kStrict, 0, 3},
               {2, kernels::Determinism::kFast, 1, 0},
               {3, kernels::Determinism::kFast, 1, 0}};
  for (const auto& c : cases) {
    const auto group = MakeGroup(c.world, {.determinism = c.determinism, .workspace_elements = 40});
    counts_.all_reduces = 0;
    counts_.all_gathers = 0;
    std::vector<std::thread> threads;
    for (const auto& comm : group) {
      threads.emplace_back([&] {
        RankUnderTest rank(kTransport, comm.get());
        float* const data = rank.Upload(std::vector<float>(100, 1));
        ASSERT_TRUE(comm->AllReduceSum(rank.stream(), {data, DType::kF32, 1, 100}).ok());
        EXPECT_EQ(rank.Download(data, 100), std::vector<float>(100, static_cast<float>(c.world)));
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(counts_.all_reduces, c.world * c.all_reduces);
    EXPECT_EQ(counts_.all_gathers, c.world * c.all_gathers);
  }
}

// In bfloat16, with a residual in float32, as in a decoder. Rows of 24 go three at a time; a row of
// 100 is more than the workspace holds.
TEST_F(NcclCommunicatorTest, OurOwnSumsTakeTheNormInTheSameKernelWithTheSameBits) {
  constexpr int kWorld = 3;
  const auto group = MakeGroup(kWorld, {.workspace_elements = 72});
  const auto bits = [](int64_t count, unsigned seed) {
    std::vector<uint16_t> numbers(count);
    for (uint16_t& number : numbers) number = 0x3f00 + (seed = seed * 75 + 74) % 511;
    return numbers;
  };
  const struct {
    int64_t rows;
    int64_t cols;
    uint64_t kernels;  // On each rank.
  } cases[] = {{7, 24, 3}, {2, 15, 1}, {2, 100, 3 + 1}};
  for (const auto& c : cases) {
    const int64_t count = c.rows * c.cols;
    std::vector<std::thread> threads;
    const uint64_t before = kernels::cuda::emulator::Launches();
    std::atomic<uint64_t> launches = 0;
    for (const auto& comm : group) {
      threads.emplace_back([&] {
        RankUnderTest rank(kTransport, comm.get());
        const auto tensor = [&](void* data, DType dtype, int64_t rows) {
          return kernels::Tensor{data, dtype, rows, c.cols};
        };
        const auto weight = tensor(rank.Upload(std::vector<float>(c.cols, 1.5f)), DType::kF32, 1);
        const auto residual =
            tensor(rank.Upload(std::vector<float>(count, 0.3f)), DType::kF32, c.rows);
        const auto expected_residual =
            tensor(rank.Upload(std::vector<float>(count, 0.3f)), DType::kF32, c.rows);
        const auto delta = tensor(rank.Upload(bits(count, comm->rank() + 1)), DType::kBF16, c.rows);
        const auto expected =
            tensor(rank.Upload(bits(count, comm->rank() + 1)), DType::kBF16, c.rows);
        EXPECT_TRUE(comm->AllReduceAddRmsNorm(rank.stream(), rank.backend(), residual, delta,
                                              weight, 1e-5f, delta)
                        .ok());
        EXPECT_TRUE(rank.stream().Synchronize().ok());
        EXPECT_TRUE(comm->Barrier().ok());
        if (comm->rank() == 0) launches = kernels::cuda::emulator::Launches() - before;
        EXPECT_TRUE(comm->Barrier().ok());
        EXPECT_TRUE(comm->AllReduceSum(rank.stream(), expected).ok());
        rank.backend().AddRmsNorm(rank.stream(), expected_residual, expected, weight, 1e-5f,
                                  expected);
        EXPECT_EQ(rank.Download(static_cast<float*>(residual.data), count),
                  rank.Download(static_cast<float*>(expected_residual.data), count));
        EXPECT_EQ(rank.Download(static_cast<uint16_t*>(delta.data), count),
                  rank.Download(static_cast<uint16_t*>(expected.data), count));
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(launches, kWorld * c.kernels) << c.rows << " rows of " << c.cols;
  }
}

// --- Errors and the end ---

TEST_F(NcclCommunicatorTest, AnErrorThatNcclLearnsOfLaterIsFinal) {
  const auto group = MakeGroup(2);
  RankUnderTest rank(kTransport, group[0].get());
  float* const data = rank.Upload<float>({1});
  ASSERT_TRUE(group[0]->AllReduceSum(rank.stream(), OneFloat(data)).ok());
  SetNcclStandInError(0, NcclResult::kRemoteError);
  const absl::Status status = group[0]->CheckQueued();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "a remote process exited")) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "the stand-in's reason")) << status;
  SetNcclStandInError(0, NcclResult::kSuccess);
  EXPECT_EQ(group[0]->AllReduceSum(rank.stream(), OneFloat(data)), status);
  EXPECT_EQ(group[0]->Barrier(), status);
  group[0]->Abort();
  EXPECT_EQ(group[0]->Barrier(), status);
  EXPECT_EQ(counts_.aborts, 1);
  // What was queued has ended.
  EXPECT_TRUE(rank.stream().Synchronize(absl::Minutes(1)).ok());
}

TEST_F(NcclCommunicatorTest, ABarrierLooksForErrorsWhileItWaits) {
  const auto group = MakeGroup(2);
  std::thread waiting([&] { EXPECT_TRUE(absl::IsUnavailable(group[0]->Barrier())); });
  SetNcclStandInError(0, NcclResult::kRemoteError);
  waiting.join();
}

TEST_F(NcclCommunicatorTest, AnErrorOfACallIsFinal) {
  api_.AllReduce = [](const void*, void*, size_t, NcclType, NcclOp, NcclComm, cudaStream_t) {
    return NcclResult::kInvalidUsage;
  };
  const auto group = MakeGroup(2);
  RankUnderTest rank(kTransport, group[0].get());
  uint64_t* const word = rank.Upload<uint64_t>({1});
  const absl::Status status = group[0]->AllReduceWords(rank.stream(), word, 1, WordOp::kSum);
  EXPECT_TRUE(absl::IsInternal(status)) << status;
  EXPECT_EQ(group[0]->Broadcast(rank.stream(), word, 8), status);
  EXPECT_EQ(counts_.aborts, 1);
}

TEST_F(NcclCommunicatorTest, AbortsFromManyThreadsAreOne) {
  for (int round = 0; round < 20; ++round) {
    counts_.aborts = 0;
    const auto group = MakeGroup(2);
    std::vector<std::thread> threads;
    for (const auto& comm : group) {
      threads.emplace_back([&] {
        RankUnderTest rank(kTransport, comm.get());
        float* const data = rank.Upload<float>({1});
        absl::Status status;
        while (status.ok()) status = comm->AllReduceSum(rank.stream(), OneFloat(data));
        EXPECT_TRUE(absl::IsAborted(status)) << status;
        EXPECT_TRUE(rank.stream().Synchronize(absl::Minutes(1)).ok());
      });
    }
    for (int i = 0; i < 3; ++i) {
      threads.emplace_back([&] {
        for (const auto& comm : group) comm->Abort();
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(counts_.aborts, 2);
  }
}

TEST_F(NcclCommunicatorTest, NoCallRunsDuringAnAbort) {
  for (int round = 0; round < 50; ++round) {
    const auto group = MakeGroup(2);
    std::thread aborting([&] { group[0]->Abort(); });
    while (group[0]->CheckQueued().ok()) {
    }
    aborting.join();
  }
  EXPECT_EQ(counts_.running_at_abort, 0);
}

TEST_F(NcclCommunicatorTest, IsDestroyedInGoodOrderOnceItsWorkIsDone) {
  {
    const auto group = MakeGroup(2);
    std::thread other([&] { EXPECT_TRUE(group[1]->Barrier().ok()); });
    EXPECT_TRUE(group[0]->Barrier().ok());
    other.join();
  }
  EXPECT_EQ(counts_.destroys, 2);
  EXPECT_EQ(counts_.aborts, 0);
}

TEST_F(NcclCommunicatorTest, IsAbortedInItsDestructorIfItCannotEnd) {
  {
    // Not formed.
    const auto comm = Create(NewId(), 0, 2);
  }
  EXPECT_EQ(counts_.aborts, 1);
  auto group = MakeGroup(2, {.timeout = absl::Milliseconds(20)});
  RankUnderTest rank(kTransport, group[0].get());
  float* const data = rank.Upload<float>({1});
  ASSERT_TRUE(group[0]->AllReduceSum(rank.stream(), OneFloat(data)).ok());
  group[0].reset();
  EXPECT_EQ(counts_.aborts, 2);
  EXPECT_EQ(counts_.destroys, 0);
  EXPECT_TRUE(rank.stream().Synchronize(absl::Minutes(1)).ok());
}

TEST_F(NcclCommunicatorTest, CollectivesThatDoNotMatchAreFoundOutByTheStandIn) {
  const auto group = MakeGroup(2);
  std::thread other([&] {
    RankUnderTest rank(kTransport, group[1].get());
    uint64_t* const words = rank.Upload<uint64_t>({1, 2});
    EXPECT_TRUE(group[1]->AllReduceWords(rank.stream(), words, 2, WordOp::kSum).ok());
    EXPECT_TRUE(absl::IsInternal(rank.Finish()));
  });
  RankUnderTest rank(kTransport, group[0].get());
  uint64_t* const words = rank.Upload<uint64_t>({1, 2});
  EXPECT_TRUE(group[0]->AllReduceWords(rank.stream(), words, 1, WordOp::kSum).ok());
  EXPECT_TRUE(absl::IsInternal(rank.Finish()));
  other.join();
}

}  // namespace
}  // namespace phalanx
