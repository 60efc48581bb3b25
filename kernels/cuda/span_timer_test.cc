// Spans of ops by events, on the emulator with its clock put forward.
#include "kernels/cuda/span_timer.h"

#include <chrono>
#include <memory>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/cuda_memory.h"
#include "kernels/cuda/testing/emulator.h"
#include "kernels/reference/reference_backend.h"

namespace phalanx::kernels::cuda {
namespace {

class SpanTimerTest : public testing::Test {
 protected:
  ~SpanTimerTest() override { emulator::SetFault(cudaSuccess); }

  // Queues something that takes so long, by the emulator's clock.
  void Queue(std::chrono::nanoseconds time) {
    emulator::Enqueue(static_cast<CudaStream&>(*stream_).handle(),
                      [time] { emulator::AdvanceClock(time); });
  }
  void Span(std::chrono::nanoseconds time) {
    timer_->Begin(*stream_);
    Queue(time);
    timer_->End(*stream_);
  }
  // That the spans took so many hours. The emulator takes some time of its own, too.
  void ExpectHours(int hours) {
    ASSERT_TRUE(stream_->Synchronize().ok());
    const auto total = timer_->Total();
    ASSERT_TRUE(total.ok()) << total.status();
    EXPECT_GE(*total, absl::Hours(hours) - absl::Seconds(1));
    EXPECT_LT(*total, absl::Hours(hours) + absl::Minutes(10));
  }

  const std::unique_ptr<Backend> backend_ = *MakeCudaBackend({});
  const std::unique_ptr<Stream> stream_ = backend_->NewStream();
  const std::unique_ptr<SpanTimer> timer_ = backend_->NewSpanTimer();
};

TEST_F(SpanTimerTest, AddsUpTheSpansSinceClearAndNothingBetweenThem) {
  ExpectHours(0);
  Span(std::chrono::hours(1));
  Queue(std::chrono::hours(16));
  Span(std::chrono::hours(2));
  ExpectHours(3);
  timer_->Clear();
  ExpectHours(0);
  Span(std::chrono::hours(4));
  ExpectHours(4);
}

TEST_F(SpanTimerTest, ARecordedSpanIsMeasuredByEachRun) {
  std::chrono::hours time(1);
  const auto recording = backend_->Record(*stream_, [&] {
    timer_->Begin(*stream_);
    emulator::Enqueue(static_cast<CudaStream&>(*stream_).handle(),
                      [&time] { emulator::AdvanceClock(time); });
    timer_->End(*stream_);
    return absl::OkStatus();
  });
  ASSERT_TRUE(recording.ok()) << recording.status();
  // No run yet.
  EXPECT_TRUE(absl::IsInternal(timer_->Total().status()));
  cudaGetLastError();
  backend_->Replay(*stream_, **recording);
  ExpectHours(1);
  time = std::chrono::hours(2);
  backend_->Replay(*stream_, **recording);
  ExpectHours(2);
}

TEST_F(SpanTimerTest, AFaultOfTheDeviceIsAnError) {
  Span(std::chrono::hours(1));
  ASSERT_TRUE(stream_->Synchronize().ok());
  emulator::SetFault(cudaErrorIllegalAddress);
  EXPECT_TRUE(absl::IsInternal(timer_->Total().status()));
}

TEST(NewSpanTimerTest, WhereOpsAreDoneWhenTheyReturnThereIsNone) {
  EXPECT_EQ(MakeReferenceBackend()->NewSpanTimer(), nullptr);
}

}  // namespace
}  // namespace phalanx::kernels::cuda
