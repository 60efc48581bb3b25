// Small random models of every architecture: the forward pass, the engine and the scores must give
// what transformers gives. See README.md.

#include "tests/golden/tiny_models.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/testing/fake_clock.h"
#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"
#include "kernels/sampling/log_prob.h"
#include "worker/engine/engine.h"
#include "worker/engine/testing/recording_sink.h"

namespace phalanx {
namespace {

// ||ours - golden|| / ||golden|| over a whole prompt.
double NormError(const Logits& ours, const Logits& golden) {
  double error = 0;
  double norm = 0;
  for (size_t i = 0; i < golden.size(); ++i) {
    for (size_t token = 0; token < golden[i].size(); ++token) {
      error += std::pow(ours[i][token] - golden[i][token], 2);
      norm += std::pow(golden[i][token], 2);
    }
  }
  return std::sqrt(error / norm);
}

class GroupExecutor final : public StepExecutor {
 public:
  explicit GroupExecutor(RankGroup* group) : group_(*group) {}
  absl::Status Submit(Step step) override {
    const absl::Span<const int32_t> lists = std::as_const(step.forward).arrays().rope_lists;
    saw_both_lists_ |= std::set<int32_t>(lists.begin(), lists.end()).size() == 2;
    step_ = std::move(step);
    return absl::OkStatus();
  }
  absl::StatusOr<StepResult> Await() override { return group_.Run(step_); }
  // Whether sequences on the one and on the other rotary list have shared a step.
  bool saw_both_lists() const { return saw_both_lists_; }

 private:
  RankGroup& group_;
  Step step_;
  bool saw_both_lists_ = false;
};

// Runs requests through an engine on `group`; they all start at once.
std::vector<RecordingSink::Record> RunEngine(RankGroup& group, GroupExecutor& executor,
                                             const std::vector<GenerationRequest>& requests) {
  const ModelSpec& spec = group.spec();
  prometheus::Registry registry;
  EngineMetrics metrics(registry);
  FakeClock clock;
  Engine engine(
      {.limits = kTinyModelLimits,
       .request_limits = {.vocab_size = spec.vocab,
                          .context_tokens = spec.context_tokens,
                          .original_context_tokens =
                              spec.rope.num_lists() == 1 ? 0 : spec.rope.original_context_tokens}},
      &executor, &clock, &metrics);
  RecordingSink sink;
  auto session = *engine.OpenSession(&sink);
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_TRUE(session->Submit(RequestId{i}, requests[i]).ok());
  }
  std::vector<RecordingSink::Record> records;
  for (size_t i = 0; i < requests.size(); ++i) {
    while (!sink.Get(RequestId{i}).ended()) EXPECT_TRUE(engine.RunOnce());
    records.push_back(sink.Get(RequestId{i}));
    EXPECT_TRUE(records.back().error.ok()) << records.back().error;
  }
  return records;
}

class TinyModelTest : public testing::TestWithParam<std::string> {
 protected:
  const GoldenModel golden_{GetParam()};
};

TEST_P(TinyModelTest, LogitsAreThoseOfTransformersAtEveryPosition) {
  RankGroup reference(golden_.path, /*world=*/1, kTinyModelLimits, &kernels::MakeReferenceBackend);
  RankGroup ours = MakeTestGroup(golden_.path, 1);
  for (RankGroup* const group : {&reference, &ours}) {
    for (size_t i = 0; i < golden_.prompts.size(); ++i) {
      const Logits logits = Forward(*group, golden_.prompts[i]);
      EXPECT_LT(LargestError(logits, golden_.logits.at(absl::StrCat("logits.", i))), 2e-5)
          << "prompt of " << golden_.prompts[i].size() << " tokens";
    }
  }
}

// transformers in bfloat16 rounds every intermediate result to 8 bits: a relative error of at most
// u = 2^-9 each. A layer has about 16 such roundings one after the other (two norms of two steps,
// four products, rotation, scores, softmax, mixing, activation, product, two residual sums), the
// rest about 4. To first order they add up at worst. A score of size s moves its weight in the
// softmax by s u rather than u; scores here are of size 2 in the mean, hence the factor of 2.
TEST_P(TinyModelTest, LogitsInBfloat16LieWithinItsRounding) {
  if (!golden_.is_bf16) GTEST_SKIP() << "the file is float32";
  RankGroup group = MakeTestGroup(golden_.path, 1);
  const double bound = 2 * 0x1p-9 * (16 * group.spec().num_layers + 4);
  for (size_t i = 0; i < golden_.prompts.size(); ++i) {
    const double error = NormError(Forward(group, golden_.prompts[i]),
                                   golden_.logits.at(absl::StrCat("bf16_logits.", i)));
    EXPECT_LT(error, bound);
    EXPECT_GT(error, 0x1p-12) << "the golden logits are not rounded";
  }
}

// What rounding keys and values changes. Let u be its size, relative to a row: that of one bfloat16
// number, 2^-9; half of a level of int8, where the largest of head_dim numbers has level 127 and is
// at most sqrt(head_dim) times their root mean square; half of the distance of two numbers of fp8,
// 2^-4. In each layer values carry u, and keys move scores by u times their size, which is 2 in the
// mean here: 3 u a layer, which to first order add up at worst.
TEST_P(TinyModelTest, LogitsWithRoundedKeysAndValuesLieWithinTheirRounding) {
  for (const kernels::KvDType dtype : RoundedTestKvDTypes()) {
    RankGroup group = MakeTestGroup(golden_.path, 1, dtype);
    const double u = dtype == kernels::KvDType::kBF16  ? 0x1p-9
                     : dtype == kernels::KvDType::kFp8 ? 0x1p-4
                                                       : std::sqrt(group.spec().head_dim) / 254;
    for (size_t i = 0; i < golden_.prompts.size(); ++i) {
      const double error = NormError(Forward(group, golden_.prompts[i]),
                                     golden_.logits.at(absl::StrCat("logits.", i)));
      EXPECT_LT(error, 3 * u * group.spec().num_layers) << kernels::KvDTypeName(dtype);
      EXPECT_GT(error, u / 64) << kernels::KvDTypeName(dtype) << " is not rounded";
    }
  }
}

TEST_P(TinyModelTest, ContinuationsWithRoundedKeysAndValuesAreTheSameAloneAndTogether) {
  RankGroup group = MakeTestGroup(golden_.path, 2, RoundedTestKvDTypes().back());
  GroupExecutor executor(&group);
  std::vector<GenerationRequest> requests;
  for (const std::vector<int32_t>& prompt : golden_.prompts) {
    requests.push_back({.prompt_token_ids = prompt,
                        .max_new_tokens = 8,
                        .eos_token_ids = {},
                        .sampling = {},
                        .long_rope_policy = LongRopePolicy::kReference});
  }
  const auto together = RunEngine(group, executor, requests);
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(RunEngine(group, executor, {requests[i]})[0].tokens, together[i].tokens);
  }
}

// All prompts at once, those before the border beside those behind it, for every number of ranks.
TEST_P(TinyModelTest, GreedyContinuationsAreThoseOfGenerate) {
  std::vector<GenerationRequest> requests;
  for (size_t i = 0; i < golden_.prompts.size(); ++i) {
    requests.push_back({.prompt_token_ids = golden_.prompts[i],
                        .max_new_tokens = static_cast<int32_t>(golden_.continuations[i].size()),
                        .eos_token_ids = {},
                        .sampling = {},
                        .long_rope_policy = LongRopePolicy::kReference});
  }
  // Twice the error that the first test allows, of logits below 10.
  EXPECT_GT(golden_.smallest_margin, 2 * 2e-5 * 10);
  const int most_ranks = MakeTestGroup(golden_.path, 1).spec().num_kv_heads;
  for (int world = 1; world <= std::min(MostTestRanks(), most_ranks); ++world) {
    SCOPED_TRACE(testing::Message() << world << " ranks");
    RankGroup group = MakeTestGroup(golden_.path, world);
    GroupExecutor executor(&group);
    const auto records = RunEngine(group, executor, requests);
    for (size_t i = 0; i < records.size(); ++i) {
      EXPECT_EQ(records[i].tokens, golden_.continuations[i])
          << "prompt of " << golden_.prompts[i].size() << " tokens";
    }
    EXPECT_EQ(executor.saw_both_lists(), group.spec().rope.num_lists() == 2);
  }
}

TEST_P(TinyModelTest, ScoresAreTheGoldenLogProbabilities) {
  std::vector<GenerationRequest> requests;
  for (const std::vector<int32_t>& prompt : golden_.prompts) {
    requests.push_back(
        {.prompt_token_ids = prompt, .eos_token_ids = {}, .sampling = {}, .score = true});
  }
  RankGroup group = MakeTestGroup(golden_.path, 2);
  GroupExecutor executor(&group);
  const auto records = RunEngine(group, executor, requests);
  for (size_t i = 0; i < records.size(); ++i) {
    const std::vector<int32_t>& prompt = golden_.prompts[i];
    const Logits& logits = golden_.logits.at(absl::StrCat("logits.", i));
    ASSERT_EQ(records[i].log_probs.size(), prompt.size() - 1);
    for (size_t t = 0; t + 1 < prompt.size(); ++t) {
      const double scale =
          std::abs(*std::max_element(logits[t].begin(), logits[t].end(),
                                     [](float a, float b) { return std::abs(a) < std::abs(b); }));
      // A log-probability is the difference of a logit and a mean of logits.
      EXPECT_NEAR(records[i].log_probs[t], kernels::LogProb(logits[t], prompt[t + 1]),
                  2 * 2e-5 * scale);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, TinyModelTest, testing::ValuesIn(GoldenModelNames()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace phalanx
