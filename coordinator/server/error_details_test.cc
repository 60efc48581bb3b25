#include "coordinator/server/error_details.h"

#include <fstream>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/retry_after.h"
#include "coordinator/admission/refusal.h"
#include "coordinator/server/testing/server_fixture.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::Contains;

// The details of one type; a default message if there is none.
template <typename Detail>
Detail DetailOf(const grpc::Status& status) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  EXPECT_EQ(details.code(), status.error_code());
  EXPECT_EQ(details.message(), status.error_message());
  Detail detail;
  for (const google::protobuf::Any& any : details.details()) {
    if (any.UnpackTo(&detail)) return detail;
  }
  return Detail();
}

std::string ReasonOf(const grpc::Status& status) {
  const auto info = DetailOf<google::rpc::ErrorInfo>(status);
  EXPECT_EQ(info.domain(), "phalanx");
  EXPECT_EQ(info.metadata().at("model"), "tiny");
  return info.reason();
}

std::string BadFieldOf(const grpc::Status& status) {
  const auto bad = DetailOf<google::rpc::BadRequest>(status);
  return bad.field_violations().empty() ? "" : bad.field_violations(0).field();
}

// Milliseconds; -1 without a hint.
int64_t RetryMsOf(const grpc::Status& status) {
  const auto retry = DetailOf<google::rpc::RetryInfo>(status);
  if (!retry.has_retry_delay()) return -1;
  return retry.retry_delay().seconds() * 1000 + retry.retry_delay().nanos() / 1'000'000;
}

TEST(ErrorDetailsTest, FindsTheFieldInTheMessage) {
  EXPECT_EQ(FieldOf(absl::InvalidArgumentError("stop[3]: length: 0 is too short")), "stop[3]");
  EXPECT_EQ(FieldOf(absl::InvalidArgumentError("chat.messages[0].role: unset")),
            "chat.messages[0].role");
  EXPECT_EQ(FieldOf(absl::NotFoundError("model: unknown")), "model");
  EXPECT_EQ(FieldOf(absl::InvalidArgumentError("1000: not known")), "1000");
  EXPECT_EQ(FieldOf(absl::InvalidArgumentError("request: 5 bytes are no message")), "");
  EXPECT_EQ(FieldOf(absl::InvalidArgumentError("it is wrong: very")), "");
  EXPECT_EQ(FieldOf(absl::InvalidArgumentError("wrong")), "");
  EXPECT_EQ(FieldOf(absl::UnavailableError("host: gone")), "");
}

// Both are hard to bring about with a client that keeps its own deadline and obeys GOAWAY.
TEST(ErrorDetailsTest, LateAndEarlyRequestsHaveReasons) {
  EXPECT_EQ(ErrorReason(Refused(RefusalKind::kExpired, absl::DeadlineExceededError(""))),
            "EXPIRED");
  EXPECT_EQ(ErrorReason(Refused(RefusalKind::kDraining, absl::UnavailableError(""))), "DRAINING");
  EXPECT_EQ(ErrorReason(absl::DeadlineExceededError("")), "DEADLINE_EXCEEDED");
  EXPECT_EQ(ErrorReason(absl::CancelledError("")), "CANCELLED");
}

TEST(ErrorDetailsTest, ANotedRetryDelayGrowsByAtMostAQuarter) {
  for (int i = 0; i < 100; ++i) {
    const auto delay =
        RetryDelay(WithRetryAfter(absl::ResourceExhaustedError("full"), absl::Seconds(8)));
    ASSERT_TRUE(delay.has_value());
    EXPECT_GE(*delay, absl::Seconds(8));
    EXPECT_LE(*delay, absl::Seconds(10));
  }
}

// Every reason stands in the table of docs/api.md.
TEST(ErrorDetailsTest, TheDocumentationHasEveryReason) {
  std::set<std::string> documented;
  std::ifstream file("docs/api.md");
  for (std::string line; std::getline(file, line);) {
    const std::vector<std::string> cells = absl::StrSplit(line, '|');
    if (cells.size() > 1) documented.insert(std::string(absl::StripAsciiWhitespace(cells[1])));
  }
  for (int i = 0; i < kNumRefusalKinds; ++i) {
    const auto kind = static_cast<RefusalKind>(i);
    EXPECT_THAT(documented, Contains(ErrorReason(Refused(kind, absl::InternalError("")))));
  }
  for (const auto& status : {absl::UnavailableError(""), absl::DeadlineExceededError(""),
                             absl::CancelledError(""), absl::InternalError("")}) {
    EXPECT_THAT(documented, Contains(ErrorReason(status)));
  }
}

class ErrorsOnTheWireTest : public ServerTest {
 protected:
  // The status of a request that was changed a little from a good one.
  grpc::Status Refusal(const std::function<void(v1::GenerateRequest&)>& change) {
    v1::GenerateRequest request = TextRequest("hello");
    change(request);
    return Generate(request).status;
  }
};

TEST_F(ErrorsOnTheWireTest, WrongRequestsAreToldWithTheField) {
  FakeEngine engine({}, SayScript("a"));
  CoordinatorServer::Options options = DefaultOptions();
  options.limits.max_prompt_bytes = 200;
  Start({&engine}, options);
  WaitUntilServing();
  const struct {
    std::function<void(v1::GenerateRequest&)> change;
    std::string reason;
    std::string field;
  } cases[] = {
      {[](auto& request) { request.set_model("huge"); }, "UNKNOWN_MODEL", "model"},
      {[](auto& request) { request.set_text(""); }, "EMPTY", "text"},
      {[](auto& request) { request.clear_text(); }, "EMPTY", "input"},
      {[](auto& request) { request.mutable_sampling()->set_top_p(2); }, "OUT_OF_RANGE",
       "sampling.top_p"},
      {[](auto& request) {
         for (int i = 0; i < 17; ++i) request.add_stop("x");
       },
       "TOO_MANY", "stop"},
      {[](auto& request) { request.add_stop(""); }, "OUT_OF_RANGE", "stop[0]"},
      {[](auto& request) { request.set_text(std::string(201, 'x')); }, "TOO_LARGE", "text"},
      {[](auto& request) { request.set_text(std::string(64, 'x')); }, "TOO_LONG", "prompt"},
      {[](auto& request) { request.set_max_new_tokens(60); }, "TOO_LONG", "max_new_tokens"},
      {[](auto& request) { request.set_text("untakable"); }, "TEMPLATE", "text"},
      {[](auto& request) { request.mutable_chat()->add_messages()->set_role("x"); }, "OUT_OF_RANGE",
       "chat.messages[0].role"},
  };
  for (const auto& bad : cases) {
    SCOPED_TRACE(bad.reason + " " + bad.field);
    const grpc::Status status = Refusal(bad.change);
    EXPECT_EQ(ReasonOf(status), bad.reason);
    EXPECT_EQ(BadFieldOf(status), bad.field);
    EXPECT_EQ(RetryMsOf(status), -1);
    EXPECT_FALSE(DetailOf<google::rpc::RequestInfo>(status).request_id().empty());
    const auto violation = DetailOf<google::rpc::BadRequest>(status).field_violations(0);
    EXPECT_EQ(status.error_message(), violation.field() + ": " + violation.description());
  }
}

TEST_F(ErrorsOnTheWireTest, AModelWithoutATemplateDoesNotSupportChat) {
  CoordinatorServer::Options options = DefaultOptions();
  options.limits.has_chat_template = false;
  Start({}, options);
  const grpc::Status status =
      Refusal([](auto& request) { request.mutable_chat()->add_messages()->set_role("user"); });
  EXPECT_EQ(ReasonOf(status), "UNSUPPORTED");
  EXPECT_EQ(BadFieldOf(status), "chat");
}

TEST_F(ErrorsOnTheWireTest, BytesThatAreNoMessageAreMalformed) {
  Start({});
  const grpc::Status garbage = SendBytes("GetModel", "\xff");
  EXPECT_EQ(ReasonOf(garbage), "MALFORMED");
  EXPECT_EQ(BadFieldOf(garbage), "");
  // Field 1000, varint 1.
  const grpc::Status unknown = SendBytes("Generate", "\xc0\x3e\x01");
  EXPECT_EQ(ReasonOf(unknown), "MALFORMED");
  EXPECT_EQ(BadFieldOf(unknown), "1000");
}

TEST_F(ErrorsOnTheWireTest, AFullServerAsksToComeBack) {
  FakeEngine engine({});
  CoordinatorServer::Options options = DefaultOptions();
  options.max_requests = 1;
  Start({&engine}, options);
  WaitUntilServing();
  OpenCall running(*stub_, TextRequest("hi"));
  EXPECT_TRUE(running.Next().has_started());
  const grpc::Status status = Generate(TextRequest("hi")).status;
  EXPECT_EQ(ReasonOf(status), "BUSY");
  EXPECT_GE(RetryMsOf(status), 500);
  EXPECT_LE(RetryMsOf(status), 1500);
  EXPECT_EQ(BadFieldOf(status), "");
  // Unary calls say the same.
  v1::TokenizeRequest tokenize;
  tokenize.set_text("hi");
  v1::TokenizeResponse response;
  grpc::ClientContext context;
  EXPECT_EQ(ReasonOf(stub_->Tokenize(&context, tokenize, &response)), "BUSY");
  running.context.TryCancel();
}

TEST_F(ErrorsOnTheWireTest, AFullTextQueueAsksToComeBack) {
  FakeEngine engine({});
  CoordinatorServer::Options options = DefaultOptions();
  options.text.max_queued = 0;
  Start({&engine}, options);
  WaitUntilServing();
  const grpc::Status status = Generate(TextRequest("hi")).status;
  EXPECT_EQ(ReasonOf(status), "TEXT_QUEUE_FULL");
  EXPECT_GE(RetryMsOf(status), 500);
}

TEST_F(ErrorsOnTheWireTest, FullWorkerGroupsAskToComeBack) {
  FakeEngine engine({}, [](const worker::v1::Submit& submit) {
    return std::vector<worker::v1::RequestEvent>{
        ErrorEvent(submit.request_id(), absl::ResourceExhaustedError("the queue is full"))};
  });
  Start({&engine});
  WaitUntilServing();
  const grpc::Status status = Generate(TextRequest("hi")).status;
  EXPECT_EQ(ReasonOf(status), "QUEUE_FULL");
  EXPECT_GE(RetryMsOf(status), 500);
}

TEST_F(ErrorsOnTheWireTest, WithoutAWorkerGroupNothingIsTaken) {
  Start({});
  const grpc::Status status = Generate(TextRequest("hi")).status;
  EXPECT_EQ(ReasonOf(status), "NO_WORKER_GROUP");
  EXPECT_EQ(RetryMsOf(status), -1);
}

TEST_F(ErrorsOnTheWireTest, AFeatureThatNoGroupHasIsTold) {
  FakeEngine engine({.features = {"score"}}, SayScript("a"));
  Start({&engine});
  WaitUntilServing();
  v1::GenerateRequest request = TextRequest("hi");
  request.mutable_constraint()->set_regex("a");
  const grpc::Status status = Generate(request).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED) << status.error_message();
  EXPECT_EQ(ReasonOf(status), "FEATURE_MISSING");
  EXPECT_EQ(RetryMsOf(status), -1);
  EXPECT_EQ(Metric("phalanx_refusals_total{kind=\"feature_missing\"}"), "1");
  EXPECT_TRUE(Generate(TextRequest("hi")).status.ok());
}

TEST_F(ErrorsOnTheWireTest, AnAnswerThatBreaksOffIsInterrupted) {
  FakeEngine engine({});
  Start({&engine});
  WaitUntilServing();
  OpenCall call(*stub_, TextRequest("hi"));
  EXPECT_TRUE(call.Next().has_started());
  engine.Send(TokensEvent(engine.WaitForSubmit().request_id(), {'a'}));
  EXPECT_TRUE(call.Next().has_delta());
  engine.EndSessions(absl::UnavailableError("gone"));
  EXPECT_EQ(ReasonOf(call.End()), "INTERRUPTED");
}

TEST_F(ErrorsOnTheWireTest, AWorkerGroupThatTalksNonsenseIsAnInternalError) {
  FakeEngine engine({}, [](const worker::v1::Submit& submit) {
    return std::vector<worker::v1::RequestEvent>{TokensEvent(submit.request_id(), {kFakeVocab})};
  });
  Start({&engine});
  WaitUntilServing();
  EXPECT_EQ(ReasonOf(Generate(TextRequest("hi")).status), "INTERNAL");
}

TEST_F(ErrorsOnTheWireTest, LongMessagesAreCutBetweenCharacters) {
  std::string text = "text: ";
  while (text.size() < 5000) text += "\xe2\x82\xac";
  grpc::CallbackServerContext context;
  const grpc::Status status =
      StatusForClient(absl::InvalidArgumentError(text), "id", "tiny", &context);
  EXPECT_LT(status.error_message().size(), 1030u);
  EXPECT_THAT(status.error_message(), ::testing::EndsWith("\xe2\x82\xac..."));
  EXPECT_EQ(BadFieldOf(status), "text");
}

// How many tokens an answer had that was broken off; empty if it had not begun.
std::string TokensSentOf(const grpc::Status& status) {
  const auto info = DetailOf<google::rpc::ErrorInfo>(status);
  const auto tokens = info.metadata().find("tokens_sent");
  return tokens == info.metadata().end() ? "" : tokens->second;
}

TEST_F(ErrorsOnTheWireTest, AnAnswerThatIsBrokenOffTellsHowManyTokensItHad) {
  FakeEngine engine({});
  Start({&engine});
  WaitUntilServing();
  OpenCall call(*stub_, TextRequest("hi"));
  EXPECT_TRUE(call.Next().has_started());
  engine.Send(TokensEvent(engine.WaitForSubmit().request_id(), {'a', 'b'}));
  EXPECT_EQ(call.Next().delta().text(), "ab");
  engine.EndSessions(absl::UnavailableError("rank 1 died"));
  const grpc::Status status = call.End();
  EXPECT_EQ(ReasonOf(status), "INTERRUPTED");
  EXPECT_EQ(TokensSentOf(status), "2");
}

TEST_F(ErrorsOnTheWireTest, AnAnswerThatHasNotBegunTellsOfNoTokens) {
  FakeEngine engine({});
  Start({&engine});
  WaitUntilServing();
  OpenCall call(*stub_, TextRequest("hi"));
  EXPECT_TRUE(call.Next().has_started());
  engine.Send(ErrorEvent(engine.WaitForSubmit().request_id(), absl::InternalError("broken")));
  EXPECT_EQ(TokensSentOf(call.End()), "");
}

}  // namespace
}  // namespace phalanx
