#include "worker/server/introspection_service.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "phalanx/worker/v1/introspection.grpc.pb.h"
#include "worker/server/testing/worker_server_fixture.h"

namespace phalanx {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using worker::v1::DumpStateRequest;
using worker::v1::DumpStateResponse;

class IntrospectionServiceTest : public WorkerServerTest {
 protected:
  grpc::Status Dump(int max_requests, DumpStateResponse* response,
                    absl::Duration timeout = absl::Minutes(1)) {
    grpc::ClientContext context;
    context.set_deadline(
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                     gpr_time_from_nanos(absl::ToInt64Nanoseconds(timeout), GPR_TIMESPAN)));
    DumpStateRequest request;
    request.set_max_requests(max_requests);
    return worker::v1::Introspection::NewStub(channel_)->DumpState(&context, request, response);
  }
};

TEST_F(IntrospectionServiceTest, TellsOfTheGroupAndItsRequests) {
  const std::unique_ptr<SessionPeer> peer = Connect();
  ASSERT_TRUE(peer->stream->Write(Submit(77, kContext - 1)));
  EXPECT_TRUE(peer->Read().step().requests(0).accepted());
  DumpStateResponse state;
  ASSERT_TRUE(Dump(0, &state).ok());
  EXPECT_EQ(state.model_name(), "tiny");
  EXPECT_EQ(state.world(), 2);
  EXPECT_EQ(state.running_requests() + state.waiting_requests(), 1);
  ASSERT_THAT(state.requests(), SizeIs(1));
  EXPECT_EQ(state.requests(0).request_id(), 77);
  EXPECT_EQ(state.requests(0).prompt_tokens(), 1);
  EXPECT_EQ(state.requests(0).phase(), worker::v1::RequestState::PHASE_DECODING);
  EXPECT_GE(state.requests(0).age_seconds(), 0);
  EXPECT_EQ(state.blocks().total(), kLimits.kv_blocks);
  EXPECT_EQ(state.blocks().block_tokens(), 16);
  EXPECT_EQ(state.steps().in_flight(), 1);
}

TEST_F(IntrospectionServiceTest, AStepThatHangsIsToldInTheError) {
  Pause(true);
  const std::unique_ptr<SessionPeer> peer = Connect();
  ASSERT_TRUE(peer->stream->Write(Submit(1, 5)));
  EXPECT_TRUE(peer->Read().step().requests(0).accepted());
  DumpStateResponse state;
  // The first one may come before the step.
  grpc::Status status = Dump(0, &state, absl::Milliseconds(100));
  if (status.ok()) status = Dump(0, &state, absl::Milliseconds(100));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_THAT(status.error_message(),
              AllOf(HasSubstr("no step has ended within"), HasSubstr("the last one ended "),
                    HasSubstr("1 running and 0 waiting requests")));
}

TEST_F(IntrospectionServiceTest, OnlyEightMayWaitForAStep) {
  Pause(true);
  const std::unique_ptr<SessionPeer> peer = Connect();
  ASSERT_TRUE(peer->stream->Write(Submit(1, 5)));
  EXPECT_TRUE(peer->Read().step().requests(0).accepted());
  // These have given up, but the engine does not know yet.
  DumpStateResponse state;
  grpc::Status status;
  for (int i = 0; i <= Engine::kMaxWaitingDumps + 1; ++i) {
    status = Dump(0, &state, absl::Milliseconds(20));
  }
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  Pause(false);
  EXPECT_EQ(ReadToEnd(*peer, 1).token_ids_size(), 5);
  EXPECT_TRUE(Dump(0, &state).ok());
}

TEST_F(IntrospectionServiceTest, LimitsOutOfRangeAreRefused) {
  DumpStateResponse state;
  for (const int bad : {-1, 1025}) {
    const grpc::Status status = Dump(bad, &state);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), HasSubstr("is not in [1, 1024]"));
  }
}

TEST_F(IntrospectionServiceTest, BeforeTheGroupServesAndAfterItsEndItIsUnavailable) {
  Listen({.address = {"127.0.0.1", 0}, .registry = &registry_});
  DumpStateResponse state;
  EXPECT_THAT(Dump(0, &state).error_message(), HasSubstr("the worker is starting"));
  Announce();
  engine_.Stop();
  const grpc::Status status = Dump(0, &state);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("shutting down"));
}

}  // namespace
}  // namespace phalanx
