// The suite of tests that every transport has to pass, on worlds of one to four ranks that are
// threads. A transport joins by a program that defines AllTransports.
//
// Data is in memory of the transport's backend, and a collective may only be queued when its call
// returns; RankUnderTest has what tests need for that.
#ifndef PHALANX_WORKER_COMM_TESTING_COMMUNICATOR_SUITE_H_
#define PHALANX_WORKER_COMM_TESTING_COMMUNICATOR_SUITE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <ostream>
#include <random>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/log.h"
#include "gtest/gtest.h"
#include "kernels/ops.h"
#include "worker/comm/communicator.h"

namespace phalanx {

// A transport under test.
struct TransportUnderTest {
  const char* name = "";
  // Whether a collective has run when its call returns. Then a peer that does not come shows as
  // DEADLINE_EXCEEDED of the call.
  bool runs_at_once = true;
  // Whether calls end when a peer's communicator is aborted.
  bool tells_of_abort = true;
  // Whether they do when it is destroyed, as when its process ends.
  bool tells_of_end = false;
  // How many random operations to try.
  int random_operations = 100'000;
  std::unique_ptr<kernels::Backend> (*make_backend)() = nullptr;
  // Makes a communicator for each rank of a new group. CHECK-fails on errors.
  std::vector<std::unique_ptr<Communicator>> (*make_group)(int world,
                                                           absl::Duration timeout) = nullptr;
};

// For GoogleTest's messages.
inline void PrintTo(const TransportUnderTest& transport, std::ostream* to) {
  *to << transport.name;
}

// Those that the test program was built with.
std::vector<TransportUnderTest> AllTransports();

// A rank of a group: its communicator, and a backend and a stream of its own.
class RankUnderTest {
 public:
  RankUnderTest(const TransportUnderTest& transport, Communicator* comm)
      : comm_(*comm), backend_(transport.make_backend()), stream_(backend_->NewStream()) {}

  Communicator& comm() { return comm_; }
  kernels::Backend& backend() { return *backend_; }
  kernels::Stream& stream() { return *stream_; }
  int number() const { return comm_.rank(); }
  int world() const { return comm_.world(); }

  // An array in backend memory that lives as long as the rank.
  template <typename T>
  T* Upload(const std::vector<T>& values) {
    T* const data = Allocate<T>(values.size());
    CopyTo(data, values);
    CHECK_OK(stream_->Synchronize());
    return data;
  }
  // Queues a copy, for which `values` must last until the stream has been waited for.
  template <typename T>
  void CopyTo(T* data, const std::vector<T>& values) {
    // An empty vector may have no address to copy from.
    if (values.empty()) return;
    backend_->CopyToBackend(*stream_, data, values.data(), values.size() * sizeof(T));
  }
  template <typename T>
  T* Allocate(size_t count) {
    auto buffer = backend_->Allocate(count * sizeof(T));
    CHECK_OK(buffer.status());
    buffers_.push_back(*std::move(buffer));
    return static_cast<T*>(buffers_.back()->data());
  }
  // Waits for all that is queued, and fails the test if that did not go well.
  template <typename T>
  std::vector<T> Download(const T* data, size_t count) {
    std::vector<T> values(count);
    if (count > 0) backend_->CopyToHost(*stream_, values.data(), data, count * sizeof(T));
    const absl::Status status = Finish();
    EXPECT_TRUE(status.ok()) << status;
    return values;
  }
  absl::Status Finish() {
    if (absl::Status status = stream_->Synchronize(absl::Minutes(1)); !status.ok()) return status;
    return comm_.CheckQueued();
  }

 private:
  Communicator& comm_;
  const std::unique_ptr<kernels::Backend> backend_;
  const std::unique_ptr<kernels::Stream> stream_;
  std::vector<std::unique_ptr<kernels::Buffer>> buffers_;
};

// Runs `body` for every rank of a new group, each on a thread of its own.
inline void OnEveryRank(const TransportUnderTest& transport, int world,
                        const std::function<void(RankUnderTest&)>& body) {
  const auto group = transport.make_group(world, absl::Minutes(1));
  std::vector<std::thread> threads;
  threads.reserve(group.size());
  for (const std::unique_ptr<Communicator>& comm : group) {
    threads.emplace_back([&transport, &body, &comm] {
      RankUnderTest rank(transport, comm.get());
      body(rank);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// What runs on worlds of several sizes.
class CommunicatorTest : public testing::TestWithParam<std::tuple<TransportUnderTest, int>> {
 protected:
  const TransportUnderTest& transport() const { return std::get<0>(GetParam()); }
  int world() const { return std::get<1>(GetParam()); }
  void OnEveryRank(const std::function<void(RankUnderTest&)>& body) const {
    phalanx::OnEveryRank(transport(), world(), body);
  }
};

// Instantiates a fixture that is derived from CommunicatorTest.
#define PHALANX_COMMUNICATOR_SUITE(Fixture)                                                  \
  INSTANTIATE_TEST_SUITE_P(                                                                  \
      AllTransports, Fixture,                                                                \
      testing::Combine(testing::ValuesIn(AllTransports()), testing::Values(1, 2, 3, 4)),     \
      [](const auto& info) {                                                                 \
        return absl::StrCat(std::get<0>(info.param).name, "World", std::get<1>(info.param)); \
      })

// What rank `rank` brings to a collective: seeded, so that every rank can compute everyone's.
inline std::vector<float> Contribution(int rank, int64_t count) {
  std::mt19937 random(static_cast<uint32_t>(rank * 1000003 + count));
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

}  // namespace phalanx

#endif  // PHALANX_WORKER_COMM_TESTING_COMMUNICATOR_SUITE_H_
