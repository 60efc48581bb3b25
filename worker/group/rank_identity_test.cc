#include "worker/group/rank_identity.h"

#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"

namespace phalanx {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(RankIdentityTest, TheOwnOneIsOfTheProgramTheMachineAndTheModel) {
  const std::unique_ptr<kernels::Backend> backend = kernels::MakeReferenceBackend();
  const absl::StatusOr<RankIdentity> own = OwnIdentity("model", *backend, WeightForm::kInt8);
  ASSERT_TRUE(own.ok()) << own.status();
  EXPECT_EQ(own->model_fingerprint, "model");
  EXPECT_THAT(own->build, testing::MatchesRegex("[0-9a-f]{32}"));
  EXPECT_THAT(own->arithmetic,
              testing::MatchesRegex("reference F32 F32, strict, KV cache f32, glibc [0-9.]+"));
  EXPECT_EQ(own->weight_form, "int8");
  EXPECT_EQ(own->protocol, kRankProtocol);
  const absl::StatusOr<RankIdentity> again = OwnIdentity("model", *backend, WeightForm::kInt8);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(CheckSameIdentity(1, *again, *own).ok());
}

TEST(RankIdentityTest, AnotherTypeOfKvCachesIsRefused) {
  const auto identity = [](kernels::KvDType dtype) {
    return *OwnIdentity("model", *kernels::MakeTypedReferenceBackend({.kv_cache = dtype}),
                        WeightForm::kFile);
  };
  const absl::Status status =
      CheckSameIdentity(2, identity(kernels::KvDType::kFp8), identity(kernels::KvDType::kInt8));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(
      std::string(status.message()),
      AllOf(HasSubstr("KV cache fp8"), HasSubstr("KV cache int8"), HasSubstr("--kv_cache_dtype")));
}

TEST(RankIdentityTest, EachDifferenceIsRefusedByName) {
  const RankIdentity leaders = {.model_fingerprint = "m1",
                                .build = "b1",
                                .arithmetic = "avx2, glibc 2.36",
                                .weight_form = "file"};
  const auto refusal = [&](std::string RankIdentity::*field, const char* value) {
    RankIdentity own = leaders;
    own.*field = value;
    const absl::Status status = CheckSameIdentity(3, own, leaders);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    return std::string(status.message());
  };
  EXPECT_THAT(refusal(&RankIdentity::model_fingerprint, "m2"),
              AllOf(HasSubstr("rank 3 has another model"), HasSubstr("m2 instead of m1")));
  EXPECT_THAT(refusal(&RankIdentity::build, "b2"),
              AllOf(HasSubstr("rank 3 is another build"), HasSubstr("b2 instead of b1")));
  EXPECT_THAT(refusal(&RankIdentity::arithmetic, "portable, glibc 2.36"),
              AllOf(HasSubstr("rank 3 computes with portable"), HasSubstr("instead of avx2")));
  EXPECT_THAT(refusal(&RankIdentity::weight_form, "int4"),
              AllOf(HasSubstr("rank 3 keeps weights as int4"), HasSubstr("--weights")));
  // A rank whose build does not send this field differs too.
  EXPECT_THAT(refusal(&RankIdentity::build, ""), HasSubstr("another build"));
}

TEST(RankIdentityTest, AnotherProtocolIsToldBeforeAllElse) {
  RankIdentity leaders = {
      .model_fingerprint = "m", .build = "b1", .arithmetic = "a", .weight_form = "w"};
  RankIdentity old = leaders;
  old.protocol = 0;
  old.build = "b0";
  EXPECT_THAT(std::string(CheckSameIdentity(3, old, leaders).message()),
              HasSubstr("rank 3 speaks protocol 0 instead of"));
}

TEST(RankIdentityTest, TravelsWhole) {
  const RankIdentity sent = {
      .protocol = 7, .model_fingerprint = "m", .build = "b", .arithmetic = "a", .weight_form = "w"};
  worker::v1::Join join;
  WriteIdentity(sent, &join);
  EXPECT_TRUE(CheckSameIdentity(1, IdentityFrom(join), sent).ok());
}

}  // namespace
}  // namespace phalanx
