#include "worker/group/poll_readable.h"

#include <sys/eventfd.h>
#include <sys/resource.h>

#include <vector>

#include "base/clock.h"
#include "base/unique_fd.h"
#include "gtest/gtest.h"
#include "worker/group/rank_channel.h"

namespace phalanx {
namespace {

TEST(PollReadableTest, NamesTheFirstThatIsReadable) {
  const UniqueFd silent(eventfd(0, EFD_CLOEXEC)), ready(eventfd(1, EFD_CLOEXEC));
  const absl::Time never = absl::InfiniteFuture();
  EXPECT_EQ(PollReadable({ready.get(), ready.get()}, never).value(), 0u);
  EXPECT_EQ(PollReadable({silent.get(), ready.get(), ready.get()}, never).value(), 1u);
  EXPECT_EQ(PollReadable({-1, silent.get(), ready.get()}, never).value(), 2u);
}

TEST(PollReadableTest, GivesUpAtTheDeadline) {
  const UniqueFd silent(eventfd(0, EFD_CLOEXEC));
  const absl::Time deadline = MonotonicClock()->Now() + absl::Milliseconds(5);
  for (const absl::Time until : {deadline, absl::InfinitePast()}) {
    EXPECT_EQ(PollReadable({silent.get(), -1}, until).status().code(),
              absl::StatusCode::kDeadlineExceeded);
    EXPECT_GE(MonotonicClock()->Now(), until);
  }
}

// More descriptors than the process may have open.
TEST(PollReadableTest, TellsThatTheSystemCannotPoll) {
  const std::vector<int> fds(64, -1);
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlimit few{.rlim_cur = 32, .rlim_max = limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  const absl::Status status =
      PollReadable(fds, MonotonicClock()->Now() + absl::Seconds(1)).status();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << status;
}

}  // namespace
}  // namespace phalanx
