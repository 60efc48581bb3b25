#include "client/inference_client.h"

#include <string>
#include <thread>
#include <vector>

#include "client/testing/fake_server.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;

class InferenceClientTest : public ::testing::Test {
 protected:
  FakeServer server_;
  InferenceClient client_{{server_.target()}};
};

// An address that nothing listens on, since its server is gone.
std::string DeadTarget() { return FakeServer().target(); }

absl::Status Ignore(const v1::GenerateEvent&) { return absl::OkStatus(); }

TEST_F(InferenceClientTest, GeneratePassesRequestAndEventsInOrder) {
  server_.AddAnswer(WholeAnswer({"a", "b"}));
  v1::GenerateRequest request;
  request.set_text("prompt");
  std::vector<int> kinds;
  const absl::Status status = client_.Generate(request, {}, [&](const v1::GenerateEvent& event) {
    kinds.push_back(event.event_case());
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(kinds, ElementsAre(v1::GenerateEvent::kStarted, v1::GenerateEvent::kDelta,
                                 v1::GenerateEvent::kDelta, v1::GenerateEvent::kFinished));
  EXPECT_EQ(server_.requests().at(0).text(), "prompt");
}

TEST_F(InferenceClientTest, GenerateReturnsTheServersStatus) {
  server_.AddAnswer({{}, absl::ResourceExhaustedError("queue full"), false});
  EXPECT_EQ(client_.Generate({}, {}, Ignore), absl::ResourceExhaustedError("queue full"));
}

TEST_F(InferenceClientTest, GenerateFindsABrokenStream) {
  FakeAnswer answer = WholeAnswer({"a", "b"});
  answer.events.erase(answer.events.begin() + 1);
  server_.AddAnswer(answer);
  EXPECT_TRUE(absl::IsDataLoss(client_.Generate({}, {}, Ignore)));
}

TEST_F(InferenceClientTest, AFailingCallbackCancelsTheRequest) {
  FakeAnswer answer = WholeAnswer({"a"});
  answer.events.pop_back();
  answer.hang = true;
  server_.AddAnswer(answer);
  const absl::Status status = client_.Generate(
      {}, {}, [](const v1::GenerateEvent&) { return absl::InternalError("enough"); });
  EXPECT_EQ(status, absl::InternalError("enough"));
  server_.WaitForCancelled(1);
}

TEST_F(InferenceClientTest, CancellationFromAnotherThreadReachesTheServer) {
  server_.AddAnswer({{}, absl::OkStatus(), /*hang=*/true});
  Cancellation cancellation;
  CallOptions options;
  options.cancellation = &cancellation;
  std::thread canceller([&] { cancellation.Cancel(); });
  EXPECT_TRUE(absl::IsCancelled(client_.Generate({}, options, Ignore)));
  canceller.join();
}

TEST_F(InferenceClientTest, CancellationBeforeTheCallStopsIt) {
  Cancellation cancellation;
  cancellation.Cancel();
  CallOptions options;
  options.cancellation = &cancellation;
  EXPECT_TRUE(absl::IsCancelled(client_.ListModels(options).status()));
}

TEST_F(InferenceClientTest, TimeoutEndsAStreamThatHangs) {
  server_.AddAnswer({{}, absl::OkStatus(), /*hang=*/true});
  CallOptions options;
  options.timeout = absl::Milliseconds(50);
  EXPECT_TRUE(absl::IsDeadlineExceeded(client_.Generate({}, options, Ignore)));
  server_.WaitForCancelled(1);
}

TEST_F(InferenceClientTest, ListsAndGetsModels) {
  v1::Model model;
  model.set_name("m");
  server_.AddModel(model);
  EXPECT_EQ(client_.ListModels({})->models(0).name(), "m");
  EXPECT_EQ(client_.GetModel({}, {})->name(), "m");
}

TEST_F(InferenceClientTest, ChecksHealth) {
  EXPECT_EQ(*client_.CheckHealth("", {}), ServingState::kNotServing);
  EXPECT_EQ(*client_.CheckHealth("m", {}), ServingState::kUnknown);
  server_.SetServing("m", true);
  EXPECT_EQ(*client_.CheckHealth("m", {}), ServingState::kServing);
}

TEST_F(InferenceClientTest, WaitsUntilServing) {
  std::thread starter([&] { server_.SetServing("m", true); });
  EXPECT_TRUE(client_.WaitUntilServing("m", {}).ok());
  starter.join();
}

TEST_F(InferenceClientTest, WaitingForServingEndsWithTheTimeout) {
  CallOptions options;
  options.timeout = absl::Milliseconds(50);
  EXPECT_TRUE(absl::IsDeadlineExceeded(client_.WaitUntilServing("", options)));
  InferenceClient nobody({DeadTarget()});
  EXPECT_TRUE(absl::IsDeadlineExceeded(nobody.WaitUntilServing("", options)));
}

TEST_F(InferenceClientTest, WithoutAServerCallsAreUnavailable) {
  InferenceClient nobody({DeadTarget()});
  EXPECT_TRUE(absl::IsUnavailable(nobody.Generate({}, {}, Ignore)));
  EXPECT_TRUE(absl::IsUnavailable(nobody.CheckHealth("", {}).status()));
}

}  // namespace
}  // namespace phalanx
