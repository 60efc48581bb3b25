#include "worker/server/introspection_service.h"

#include <string>

#include "base/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "phalanx/worker/v1/introspection.grpc.pb.h"
#include "worker/group/rank_board.h"
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

TEST_F(IntrospectionServiceTest, TellsOfTheRanks) {
  RankBoard board(2);
  Serve({.address = {"127.0.0.1", 0}, .registry = &registry_, .introspection = {.board = &board}});
  const absl::Time now = MonotonicClock()->Now();
  board.Joined(0, 11, now);
  board.Ready(0, {.host = "here", .weight_bytes = 5, .kv_arena_bytes = 6});
  board.Joined(1, 12, now - absl::Seconds(10));
  board.Worked(1, {}, 7, now);
  board.Worked(
      1,
      {.steps = 2, .step_time = absl::Seconds(4), .timed_steps = 2, .comm_time = absl::Seconds(1)},
      7, now + kRankLoadInterval);
  DumpStateResponse state;
  ASSERT_TRUE(Dump(0, &state).ok());
  ASSERT_THAT(state.ranks(), SizeIs(2));
  EXPECT_EQ(state.ranks(0).phase(), worker::v1::RankState::PHASE_READY);
  EXPECT_EQ(state.ranks(0).process_id(), 11);
  EXPECT_EQ(state.ranks(0).host(), "here");
  EXPECT_EQ(state.ranks(0).weight_bytes(), 5);
  EXPECT_EQ(state.ranks(0).kv_cache_bytes(), 6);
  EXPECT_EQ(state.ranks(1).rank(), 1);
  EXPECT_EQ(state.ranks(1).phase(), worker::v1::RankState::PHASE_LOADING);
  EXPECT_GE(state.ranks(1).heartbeat_age_seconds(), 10);
  EXPECT_EQ(state.ranks(1).step_seconds(), 2);
  EXPECT_EQ(state.ranks(1).comm_seconds(), 0.5);
  EXPECT_EQ(state.ranks(1).resident_bytes(), 7);

  // While a step hangs, the error tells who may be the reason.
  Pause(true);
  const std::unique_ptr<SessionPeer> peer = Connect();
  ASSERT_TRUE(peer->stream->Write(Submit(1, 5)));
  EXPECT_TRUE(peer->Read().step().requests(0).accepted());
  grpc::Status status = Dump(0, &state, absl::Milliseconds(100));
  if (status.ok()) status = Dump(0, &state, absl::Milliseconds(100));
  EXPECT_THAT(status.error_message(), HasSubstr("; rank 1 (process 12) was last heard of 1"));
  Pause(false);
  EXPECT_EQ(ReadToEnd(*peer, 1).token_ids_size(), 5);
  // The engine has answered what had given up, so the board may go.
  server_->Shutdown(absl::ZeroDuration());
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
