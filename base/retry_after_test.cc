#include "base/retry_after.h"

#include "gtest/gtest.h"

namespace phalanx {
namespace {

TEST(RetryAfterTest, IsWhatWasNoted) {
  const absl::Status refused = absl::ResourceExhaustedError("full");
  EXPECT_FALSE(RetryAfterOf(refused).has_value());
  const absl::Status noted = WithRetryAfter(refused, absl::Milliseconds(1500));
  EXPECT_EQ(noted.message(), "full");
  EXPECT_EQ(RetryAfterOf(noted), absl::Milliseconds(1500));
  EXPECT_EQ(RetryAfterOf(WithRetryAfter(noted, absl::Minutes(1))), absl::Minutes(1));
}

TEST(RetryAfterTest, OtherNotesStay) {
  absl::Status status = absl::ResourceExhaustedError("full");
  status.SetPayload("other", absl::Cord("note"));
  EXPECT_EQ(WithRetryAfter(status, absl::Seconds(1)).GetPayload("other"), absl::Cord("note"));
}

TEST(RetryAfterTest, AnOkStatusHasNone) {
  EXPECT_FALSE(RetryAfterOf(absl::OkStatus()).has_value());
}

}  // namespace
}  // namespace phalanx
