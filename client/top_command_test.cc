#include "client/top_command.h"

#include <grpcpp/grpcpp.h>
#include <signal.h>

#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/options.h"
#include "client/commands.h"
#include "client/exit_code.h"
#include "client/testing/fake_server.h"
#include "client/testing/pipe_terminal.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "phalanx/worker/v1/introspection.grpc.pb.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;
using worker::v1::DumpStateRequest;
using worker::v1::DumpStateResponse;

// A worker that tells how often it was asked as its number of waiting requests.
class FakeWorker final : public worker::v1::Introspection::Service {
 public:
  FakeWorker() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    CHECK(server_ != nullptr);
  }
  ~FakeWorker() override { server_->Shutdown(); }

  std::string target() const { return absl::StrCat("127.0.0.1:", port_); }

  // The call of that number, from 1, fails.
  void FailCall(int number, const grpc::Status& status) {
    MutexLock lock(&mutex_);
    failing_call_ = number;
    failure_ = status;
  }

 private:
  grpc::Status DumpState(grpc::ServerContext*, const DumpStateRequest*,
                         DumpStateResponse* response) override {
    MutexLock lock(&mutex_);
    if (++calls_ == failing_call_) return failure_;
    response->set_model_name("tiny");
    response->set_waiting_requests(calls_);
    return grpc::Status::OK;
  }

  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  Mutex mutex_;
  int calls_ GUARDED_BY(mutex_) = 0;
  int failing_call_ GUARDED_BY(mutex_) = 0;
  grpc::Status failure_ GUARDED_BY(mutex_);
};

class TopCommandTest : public ::testing::Test {
 protected:
  TopCommandTest() {
    line_.command = Command::kTop;
    line_.target = worker_.target();
    line_.interval = absl::Milliseconds(1);
  }

  int Run() { return RunCommand(line_, pipes_.get()); }

  FakeWorker worker_;
  PipeTerminal pipes_;
  CommandLine line_;
};

TEST_F(TopCommandTest, OnceLooksOnce) {
  line_.once = true;
  EXPECT_EQ(Run(), kExitOk);
  const std::string output = pipes_.Output();
  EXPECT_THAT(output, StartsWith(absl::StrCat("worker    ", line_.target, "  tiny")));
  EXPECT_THAT(output, HasSubstr("0 running, 1 waiting"));
  EXPECT_THAT(pipes_.Errors(), IsEmpty());
}

TEST_F(TopCommandTest, WithoutATerminalTextsFollowUntilAnInterrupt) {
  std::thread user([this] {
    const std::string seen = pipes_.WaitForOutput("3 waiting");
    EXPECT_THAT(seen, HasSubstr("1 waiting"));
    EXPECT_THAT(seen, ::testing::Not(HasSubstr("\x1b")));
    pipes_.interrupt().Raise(SIGINT);
  });
  EXPECT_EQ(Run(), kExitInterrupted);
  user.join();
}

TEST_F(TopCommandTest, JsonIsALineForEachLook) {
  line_.json = true;
  std::thread user([this] {
    const std::string first = pipes_.WaitForOutput("\n");
    EXPECT_EQ(nlohmann::json::parse(first)["waiting_requests"], 1);
    const std::string second = pipes_.WaitForOutput("\n");
    EXPECT_EQ(nlohmann::json::parse(second)["waiting_requests"], 2);
    pipes_.CloseOutputReader();
  });
  EXPECT_EQ(Run(), kExitBrokenPipe);
  user.join();
}

TEST_F(TopCommandTest, AWorkerThatIsNotThereIsNamed) {
  line_.target = FakeWorker().target();
  EXPECT_EQ(Run(), kExitUnavailable);
  EXPECT_THAT(pipes_.Errors(), HasSubstr("phalanx: UNAVAILABLE: "));
}

TEST_F(TopCommandTest, AStepThatHangsIsToldInPlaceOfTheState) {
  worker_.FailCall(1, {grpc::StatusCode::DEADLINE_EXCEEDED, "no step has ended within 2s"});
  EXPECT_EQ(Run(), kExitDeadline);
  EXPECT_THAT(pipes_.Errors(), HasSubstr("no step has ended within 2s"));
}

TEST_F(TopCommandTest, ACoordinatorIsNoWorker) {
  const FakeServer coordinator;
  line_.target = coordinator.target();
  EXPECT_EQ(Run(), kExitInvalidRequest);
  EXPECT_THAT(pipes_.Errors(), HasSubstr(absl::StrCat(line_.target, " is no worker")));
}

}  // namespace
}  // namespace phalanx
