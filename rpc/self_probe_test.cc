#include "rpc/self_probe.h"

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <sys/resource.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/mutex.h"
#include "gtest/gtest.h"
#include "prometheus/text_serializer.h"
#include "rpc/health_service.h"
#include "rpc/server_setup.h"

namespace phalanx {
namespace {

constexpr int64_t kMaxMessageBytes = 4 << 20;
constexpr absl::Duration kShort = absl::Milliseconds(20);

class SelfProbeTest : public ::testing::Test {
 protected:
  void Listen() {
    listener_ = Listener::Listen({"127.0.0.1", 0}, kMaxMessageBytes, registry_).value();
  }

  void Serve() {
    grpc::ServerBuilder builder;
    SetUpServer(kMaxMessageBytes, builder);
    builder.RegisterService(health_.service());
    listener_->Attach(builder);
    server_ = builder.BuildAndStart();
    listener_->Start();
  }

  void Probe(absl::Duration interval, int max_failures) {
    probe_.emplace(SelfProbe::Options{.interval = interval,
                                      .max_failures = max_failures,
                                      .on_deaf =
                                          [this] {
                                            MutexLock lock(&mutex_);
                                            ++times_deaf_;
                                            changed_.SignalAll();
                                          }},
                   HostPort{"127.0.0.1", listener_->port()}, listener_.get(), registry_);
  }

  void TearDown() override {
    probe_.reset();
    if (listener_ != nullptr) listener_->Stop();
    if (server_ != nullptr) server_->Shutdown(gpr_now(GPR_CLOCK_MONOTONIC));
  }

  void AwaitDeaf() {
    MutexLock lock(&mutex_);
    while (times_deaf_ == 0) changed_.Wait(&mutex_);
  }

  int times_deaf() {
    MutexLock lock(&mutex_);
    return times_deaf_;
  }

  // Blocks until the metric has this value at least.
  void AwaitProbes(const std::string& result, double at_least) {
    while (Probes(result) < at_least) std::this_thread::yield();
  }

  double Probes(const std::string& result) {
    const std::string start = absl::StrCat("phalanx_self_probes_total{result=\"", result, "\"} ");
    const std::string page = prometheus::TextSerializer().Serialize(registry_.Collect());
    for (const absl::string_view line : absl::StrSplit(page, '\n')) {
      double value;
      if (absl::StartsWith(line, start) && absl::SimpleAtod(line.substr(start.size()), &value)) {
        return value;
      }
    }
    return -1;
  }

  prometheus::Registry registry_;
  HealthService health_{{"other"}};
  std::unique_ptr<Listener> listener_;
  std::unique_ptr<grpc::Server> server_;
  Mutex mutex_;
  CondVar changed_;
  int times_deaf_ GUARDED_BY(mutex_) = 0;
  std::optional<SelfProbe> probe_;
};

TEST_F(SelfProbeTest, AServerThatAnswersIsLeftAlone) {
  Listen();
  Serve();
  Probe(absl::Milliseconds(1), 1000);
  AwaitProbes("answered", 5);
  EXPECT_EQ(times_deaf(), 0);
}

TEST_F(SelfProbeTest, APortThatNobodyAcceptsFromIsDeaf) {
  Listen();  // Connects succeed from now on.
  Probe(kShort, 3);
  AwaitDeaf();
  EXPECT_EQ(Probes("failed"), 3);
  EXPECT_EQ(Probes("answered"), 0);
}

TEST_F(SelfProbeTest, AServerThatIsGoneIsDeaf) {
  Listen();
  Serve();
  Probe(kShort, 2);
  AwaitProbes("answered", 1);
  // The listener goes on to accept, for a server that takes no calls.
  server_->Shutdown(gpr_now(GPR_CLOCK_MONOTONIC));
  AwaitDeaf();
}

TEST_F(SelfProbeTest, ItIsToldOnceAndEndsAtOnce) {
  Listen();
  Probe(absl::Milliseconds(1), 1);
  AwaitDeaf();
  probe_.reset();
  EXPECT_EQ(times_deaf(), 1);
  // In a call, and between two.
  Probe(absl::Hours(1), 1);
  probe_.reset();
  EXPECT_EQ(times_deaf(), 1);
}

TEST_F(SelfProbeTest, AnIntervalOfZeroMakesNoCalls) {
  Listen();
  Serve();
  Probe(absl::ZeroDuration(), 1);
  probe_.reset();
  EXPECT_EQ(Probes("answered") + Probes("refused") + Probes("failed"), 0);
}

TEST_F(SelfProbeTest, AFullServerIsNotDeaf) {
  rlimit old_limit;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &old_limit), 0);
  rlimit limit = old_limit;
  limit.rlim_cur = 128;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  Listen();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &old_limit), 0);
  Serve();
  // Takes the descriptors that are left. Later ones are reserved, so that the process's calls of
  // itself are refused too.
  std::vector<int> files;
  while (files.empty() || files.back() < 127) files.push_back(dup(0));
  Probe(kShort, 1000);
  AwaitProbes("refused", 3);
  EXPECT_EQ(times_deaf(), 0);
  for (const int file : files) close(file);
  AwaitProbes("answered", 1);
}

}  // namespace
}  // namespace phalanx
