#include "worker/comm/communicator_segment.h"

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <new>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/errno_text.h"

namespace phalanx {
namespace {

// Marks the memory as a segment: "PHLX".
constexpr uint32_t kMagic = 0x50484c58;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Returns when *word is no longer `expected`, when woken, when `timeout` has passed, or for no
// reason: the caller looks again. Without FUTEX_PRIVATE_FLAG, because the waker may be another
// process.
void FutexWait(std::atomic<uint32_t>* word, uint32_t expected, absl::Duration timeout) {
  const timespec time = absl::ToTimespec(timeout);
  syscall(SYS_futex, word, FUTEX_WAIT, expected, &time, nullptr, 0);
}

void FutexWakeAll(std::atomic<uint32_t>* word) {
  syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace

struct alignas(64) CommunicatorSegment::Header {
  uint32_t magic;
  uint32_t world;
  std::atomic<bool> aborted;
};

struct alignas(64) CommunicatorSegment::Rank {
  // Exchanges that the rank has arrived at, counted from 1.
  std::atomic<uint64_t> arrived;
  // Those who wait for this rank sleep until this changes: with each of its arrivals, and with
  // Abort.
  std::atomic<uint32_t> signal;
  // How many ranks sleep so, or are about to. If none, an arrival costs no system call.
  std::atomic<uint32_t> sleepers;
};

size_t CommunicatorSegment::Bytes(int world) {
  return sizeof(Header) + world * (sizeof(Rank) + 2 * kExchangeBytes);
}

absl::StatusOr<std::shared_ptr<CommunicatorSegment>> CommunicatorSegment::Create(int world) {
  if (world < 1) return absl::InvalidArgumentError(absl::StrCat("a world of ", world, " ranks"));
  const int fd = memfd_create("phalanx-communicator", MFD_CLOEXEC);
  const size_t bytes = Bytes(world);
  if (fd < 0 || ftruncate(fd, static_cast<off_t>(bytes)) != 0) {
    if (fd >= 0) close(fd);
    return absl::ResourceExhaustedError(absl::StrCat(
        "cannot make ", bytes, " bytes of memory for the ranks to share: ", ErrnoText(errno)));
  }
  void* const map = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (map == MAP_FAILED) {
    close(fd);
    return absl::ResourceExhaustedError(absl::StrCat("cannot map ", bytes, " shared bytes"));
  }
  // Only the header has to be written: counters begin at zero, and a new memfd is all zeros.
  auto* const header = new (map) Header;
  header->magic = kMagic;
  header->world = static_cast<uint32_t>(world);
  return std::shared_ptr<CommunicatorSegment>(new CommunicatorSegment(fd, map, world));
}

absl::StatusOr<std::shared_ptr<CommunicatorSegment>> CommunicatorSegment::Map(int fd, int world) {
  const size_t bytes = Bytes(world);
  // The size comes first: to touch a mapping behind the end of its file would end the process.
  struct stat info {};
  if (fstat(fd, &info) != 0 || static_cast<size_t>(info.st_size) != bytes) {
    close(fd);
    return absl::InvalidArgumentError(
        absl::StrCat("the shared memory is not a segment for ", world, " ranks"));
  }
  void* const map = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (map == MAP_FAILED) {
    close(fd);
    return absl::ResourceExhaustedError(absl::StrCat("cannot map ", bytes, " shared bytes"));
  }
  std::shared_ptr<CommunicatorSegment> segment(new CommunicatorSegment(fd, map, world));
  const auto* const header = static_cast<const Header*>(map);
  if (header->magic != kMagic || header->world != static_cast<uint32_t>(world)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the shared memory is not a segment for ", world, " ranks"));
  }
  return segment;
}

CommunicatorSegment::CommunicatorSegment(int fd, void* map, int world)
    : fd_(fd), map_(static_cast<std::byte*>(map)), world_(world) {}

CommunicatorSegment::~CommunicatorSegment() {
  munmap(map_, Bytes(world_));
  close(fd_);
}

std::byte* CommunicatorSegment::Data(int rank, uint64_t exchange) const {
  std::byte* const data = map_ + sizeof(Header) + world_ * sizeof(Rank);
  return data + (2 * rank + exchange % 2) * kExchangeBytes;
}

bool CommunicatorSegment::aborted() const {
  return reinterpret_cast<const Header*>(map_)->aborted.load();
}

void CommunicatorSegment::Arrive(int rank, uint64_t exchange) {
  auto& slot = reinterpret_cast<Rank*>(map_ + sizeof(Header))[rank];
  // Sequentially consistent, as what SleepUntilArrived does: a sleeper counts itself and then looks
  // whether the rank has arrived, while the rank arrives and then looks whether anyone sleeps.
  // These four have one order for all threads, in which at least one of the two sees the other, so
  // nobody sleeps past an arrival.
  slot.arrived.store(exchange);
  slot.signal.fetch_add(1);
  if (slot.sleepers.load() != 0) FutexWakeAll(&slot.signal);
}

bool CommunicatorSegment::AllHaveArrived(uint64_t exchange) const {
  const auto* const slots = reinterpret_cast<const Rank*>(map_ + sizeof(Header));
  return std::all_of(slots, slots + world_, [&](const Rank& slot) {
    return slot.arrived.load(std::memory_order_acquire) >= exchange;
  });
}

absl::Status CommunicatorSegment::WaitForAll(uint64_t exchange, int spins, absl::Duration timeout) {
  // Set by the first rank that has to be slept for: most calls are over before, and reading the
  // clock would cost them time.
  absl::Time deadline = absl::InfinitePast();
  for (int rank = 0; rank < world_; ++rank) {
    const auto& slot = reinterpret_cast<const Rank*>(map_ + sizeof(Header))[rank];
    // Acquire, so that the data which the rank wrote before it arrived can be read now. Abort is
    // not looked at while spinning: it shows at the latest when the spins are used up.
    int spin = 0;
    while (slot.arrived.load(std::memory_order_acquire) < exchange && spin < spins) {
      Pause();
      ++spin;
    }
    if (slot.arrived.load(std::memory_order_acquire) >= exchange) continue;
    if (deadline == absl::InfinitePast()) deadline = MonotonicClock()->Now() + timeout;
    if (absl::Status status = SleepUntilArrived(rank, exchange, deadline); !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

absl::Status CommunicatorSegment::SleepUntilArrived(int rank, uint64_t exchange,
                                                    absl::Time deadline) {
  auto& slot = reinterpret_cast<Rank*>(map_ + sizeof(Header))[rank];
  // Comes before the signal is read. An arrival that looked for sleepers before this is seen below.
  // One that looks later finds a sleeper: it changes the signal, so that this rank cannot fall
  // asleep any more, and wakes it if it sleeps already.
  slot.sleepers.fetch_add(1);
  absl::Status status;
  while (true) {
    const uint32_t signal = slot.signal.load();
    if (slot.arrived.load() >= exchange) break;
    if (aborted()) {
      status = absl::AbortedError("the communicator was aborted");
      break;
    }
    const absl::Duration left = deadline - MonotonicClock()->Now();
    if (left <= absl::ZeroDuration()) {
      status = absl::DeadlineExceededError(
          absl::StrCat("rank ", rank, " did not come to a collective in time"));
      break;
    }
    FutexWait(&slot.signal, signal, left);
  }
  slot.sleepers.fetch_sub(1);
  return status;
}

void CommunicatorSegment::Abort() {
  reinterpret_cast<Header*>(map_)->aborted.store(true);
  // A waiter sleeps on the signal of the rank that it misses, which may be any.
  for (int rank = 0; rank < world_; ++rank) {
    auto& slot = reinterpret_cast<Rank*>(map_ + sizeof(Header))[rank];
    slot.signal.fetch_add(1);
    FutexWakeAll(&slot.signal);
  }
}

}  // namespace phalanx
