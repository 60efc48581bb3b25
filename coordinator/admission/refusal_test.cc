#include "coordinator/admission/refusal.h"

#include <set>
#include <string>

#include "base/retry_after.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

TEST(RefusalTest, EveryKindIsNotedAndHasANameOfItsOwn) {
  std::set<std::string> names;
  for (int i = 0; i < kNumRefusalKinds; ++i) {
    const auto kind = static_cast<RefusalKind>(i);
    const absl::Status status = Refused(kind, absl::UnavailableError("later"));
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(status.message(), "later");
    EXPECT_EQ(KindOfRefusal(status), kind);
    names.emplace(RefusalKindName(kind));
  }
  EXPECT_EQ(names.size(), size_t{kNumRefusalKinds});
  EXPECT_FALSE(names.contains(""));
}

TEST(RefusalTest, TheLastKindIsCountedToo) {
  const absl::Status status = Refused(RefusalKind::kExpired, absl::DeadlineExceededError("late"));
  EXPECT_EQ(KindOfRefusal(status), RefusalKind::kExpired);
}

TEST(RefusalTest, OtherStatusesAreNoRefusals) {
  EXPECT_EQ(KindOfRefusal(absl::OkStatus()), std::nullopt);
  EXPECT_EQ(KindOfRefusal(Refused(RefusalKind::kEmpty, absl::OkStatus())), std::nullopt);
  EXPECT_EQ(KindOfRefusal(absl::UnavailableError("lost")), std::nullopt);
}

// Noted again, by who knows more.
TEST(RefusalTest, TheLastNoteCounts) {
  const absl::Status first = Refused(RefusalKind::kOutOfRange, absl::InvalidArgumentError("x"));
  EXPECT_EQ(KindOfRefusal(Refused(RefusalKind::kTooLong, first)), RefusalKind::kTooLong);
}

TEST(RefusalTest, ARetryHintStaysWithTheStatus) {
  const absl::Status hinted = Refused(
      RefusalKind::kBusy, WithRetryAfter(absl::ResourceExhaustedError("busy"), absl::Seconds(2)));
  EXPECT_EQ(RetryAfterOf(hinted), absl::Seconds(2));
  EXPECT_EQ(KindOfRefusal(hinted), RefusalKind::kBusy);
}

}  // namespace
}  // namespace phalanx
