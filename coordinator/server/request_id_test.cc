#include "coordinator/server/request_id.h"

#include <cctype>
#include <cstdint>
#include <string>

#include "coordinator/server/testing/server_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

// Each bit stays as it is in all of 100 draws once in 2^99.
constexpr int kDraws = 100;

TEST(RequestIdTest, EveryRandomBitIsRandom) {
  uint64_t ones = 0, zeros = 0;
  for (int i = 0; i < kDraws; ++i) {
    const uint64_t bits = RandomBits64();
    ones |= bits;
    zeros |= ~bits;
  }
  EXPECT_EQ(ones, ~uint64_t{0});
  EXPECT_EQ(zeros, ~uint64_t{0});
}

TEST(RequestIdTest, Is32HexadecimalDigitsOfWhichEachVaries) {
  const std::string first = MakeRequestId();
  std::string varies(32, '-');
  for (int i = 0; i < kDraws; ++i) {
    const std::string id = MakeRequestId();
    ASSERT_EQ(id.size(), 32u);
    for (size_t k = 0; k < id.size(); ++k) {
      EXPECT_TRUE(std::isxdigit(static_cast<unsigned char>(id[k]))) << id;
      if (id[k] != first[k]) varies[k] = 'x';
    }
  }
  EXPECT_EQ(varies, std::string(32, 'x'));
}

// The id in this metadata, or "" without one.
std::string IdIn(const std::multimap<grpc::string_ref, grpc::string_ref>& metadata) {
  const auto found = metadata.find(kRequestIdMetadata);
  if (found == metadata.end()) return "";
  return std::string(found->second.data(), found->second.size());
}

class CallersRequestIdTest : public ServerTest {
 protected:
  // What the server made of these ids: calls a method with them, and checks that each side of the
  // answer is told.
  grpc::Status GetModel(const std::vector<std::string>& ids, std::string* initial,
                        std::string* trailing) {
    grpc::ClientContext context;
    for (const std::string& id : ids) context.AddMetadata(kRequestIdMetadata, id);
    v1::Model model;
    grpc::Status status = stub_->GetModel(&context, {}, &model);
    *initial = IdIn(context.GetServerInitialMetadata());
    *trailing = IdIn(context.GetServerTrailingMetadata());
    return status;
  }
};

TEST_F(CallersRequestIdTest, TheCallersIdIsTakenAndToldByEveryMethod) {
  FakeEngine engine({}, [](const worker::v1::Submit& submit) {
    if (!submit.score()) return SayScript("a")(submit);
    return std::vector<worker::v1::RequestEvent>{
        LogProbsEvent(submit.request_id(), {-1.0f}),
        FinishedEvent(submit.request_id(), worker::v1::EngineFinished::REASON_SCORED)};
  });
  Start({&engine});
  WaitUntilServing();
  const std::string id = "trace/17~" + std::string(119, 'x');
  const auto call = [&](const std::string& method, const auto& run) {
    SCOPED_TRACE(method);
    grpc::ClientContext context;
    context.AddMetadata(kRequestIdMetadata, id);
    const grpc::Status status = run(&context);
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(IdIn(context.GetServerInitialMetadata()), id);
  };
  call("Generate", [&](grpc::ClientContext* context) {
    const Answer answer = Generate(TextRequest("hi"), context);
    EXPECT_EQ(answer.started.request_id(), id);
    return answer.status;
  });
  call("Score", [&](grpc::ClientContext* context) {
    v1::ScoreRequest request;
    request.set_text("hi");
    const auto reader = stub_->Score(context, request);
    v1::ScoreEvent event;
    EXPECT_TRUE(reader->Read(&event));
    EXPECT_EQ(event.started().request_id(), id);
    while (reader->Read(&event)) {
    }
    return reader->Finish();
  });
  call("Tokenize", [&](grpc::ClientContext* context) {
    v1::TokenizeRequest request;
    request.set_text("hi");
    v1::TokenizeResponse response;
    return stub_->Tokenize(context, request, &response);
  });
  call("Detokenize", [&](grpc::ClientContext* context) {
    v1::DetokenizeResponse response;
    return stub_->Detokenize(context, {}, &response);
  });
  call("GetModel", [&](grpc::ClientContext* context) {
    v1::Model model;
    return stub_->GetModel(context, {}, &model);
  });
  call("ListModels", [&](grpc::ClientContext* context) {
    v1::ListModelsResponse models;
    return stub_->ListModels(context, {}, &models);
  });
}

TEST_F(CallersRequestIdTest, WithoutOneTheServerMakesIt) {
  Start({});
  std::string initial, trailing;
  EXPECT_TRUE(GetModel({}, &initial, &trailing).ok());
  EXPECT_EQ(initial.size(), 32u);
}

TEST_F(CallersRequestIdTest, IdsThatCannotBeUsedAreRefused) {
  Start({});
  const std::vector<std::vector<std::string>> bad = {
      {""}, {std::string(129, 'x')}, {"a b"}, {"a", "a"}};
  for (const std::vector<std::string>& ids : bad) {
    SCOPED_TRACE(ids.front());
    std::string initial, trailing;
    const grpc::Status status = GetModel(ids, &initial, &trailing);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), testing::StartsWith("x-request-id: must be given once"));
    EXPECT_EQ(trailing.size(), 32u);
    grpc::ClientContext context;
    for (const std::string& id : ids) context.AddMetadata(kRequestIdMetadata, id);
    EXPECT_EQ(Generate(TextRequest("hi"), &context).status.error_code(),
              grpc::StatusCode::INVALID_ARGUMENT);
  }
}

TEST_F(CallersRequestIdTest, ARefusalHasTheIdInItsTrailersOnly) {
  Start({});
  grpc::ClientContext context;
  context.AddMetadata(kRequestIdMetadata, "mine");
  EXPECT_FALSE(Generate(TextRequest(""), &context).status.ok());
  EXPECT_EQ(IdIn(context.GetServerInitialMetadata()), "");
  EXPECT_EQ(IdIn(context.GetServerTrailingMetadata()), "mine");
}

}  // namespace
}  // namespace phalanx
