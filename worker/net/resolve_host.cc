#include "worker/net/resolve_host.h"

#include <netdb.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "worker/net/poll_until.h"

namespace phalanx {
namespace {

struct Answer {
  int error = 0;  // Of getaddrinfo.
  std::vector<HostAddress> addresses;
};

// Blocks for as long as the system wants.
Answer Ask(const HostPort& address, int flags) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags;
  addrinfo* results = nullptr;
  Answer answer;
  answer.error =
      getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &results);
  if (answer.error != 0) return answer;
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(results, freeaddrinfo);
  for (const addrinfo* each = results; each != nullptr; each = each->ai_next) {
    HostAddress& found = answer.addresses.emplace_back();
    std::memcpy(&found.address, each->ai_addr, each->ai_addrlen);
    found.length = each->ai_addrlen;
  }
  return answer;
}

absl::Status NoSuchHost(const HostPort& address, int error) {
  return absl::UnavailableError(
      absl::StrCat("no address for ", address.host, ": ", gai_strerror(error)));
}

// Shared with the thread that asks, which may outlive the caller's patience.
struct Question {
  UniqueFd answered{eventfd(0, EFD_CLOEXEC)};
  Mutex mutex;
  Answer answer GUARDED_BY(mutex);
};

void AskInBackground(const HostPort& address, std::shared_ptr<Question> question) {
  std::thread([address, question = std::move(question)] {
    Answer answer = Ask(address, 0);
    MutexLock lock(&question->mutex);
    question->answer = std::move(answer);
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(question->answered.get(), &one, sizeof(one));
  }).detach();
}

}  // namespace

absl::StatusOr<std::vector<HostAddress>> ResolveHost(const HostPort& address, absl::Time deadline,
                                                     int interrupt_fd) {
  // Without a thread where nobody has to be asked.
  if (Answer numeric = Ask(address, AI_NUMERICHOST); numeric.error == 0) return numeric.addresses;
  const auto question = std::make_shared<Question>();
  AskInBackground(address, question);
  pollfd fds[] = {{interrupt_fd, POLLIN, 0}, {question->answered.get(), POLLIN, 0}};
  ASSIGN_OR_RETURN(const bool in_time, PollUntil(absl::MakeSpan(fds), deadline));
  if (fds[0].revents != 0) return absl::CancelledError("interrupted while asking for an address");
  if (!in_time) return NoSuchHost(address, EAI_AGAIN);
  MutexLock lock(&question->mutex);
  if (question->answer.error != 0) return NoSuchHost(address, question->answer.error);
  return std::move(question->answer.addresses);
}

}  // namespace phalanx
