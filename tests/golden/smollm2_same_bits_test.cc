// What the real model answers must not depend on what runs beside a request, on how prompts are cut
// into steps or on the number of threads. This holds to the bit, at each level of instructions and
// for each type of products and of keys and values.

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/testing/fake_clock.h"
#include "gtest/gtest.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/sampling/log_prob.h"
#include "nlohmann/json.hpp"
#include "prometheus/registry.h"
#include "worker/engine/engine.h"
#include "worker/engine/testing/recording_sink.h"
#include "worker/model/testing/rank_group.h"

namespace phalanx {
namespace {

using kernels::CpuLevel;
using kernels::CpuProducts;
using kernels::KvDType;

struct Arithmetic {
  CpuLevel level;
  CpuProducts products;
  KvDType kv_cache;
};

std::string NameOf(const Arithmetic& arithmetic) {
  const char* const products = arithmetic.products == CpuProducts::kInt8       ? "_int8"
                               : arithmetic.products == CpuProducts::kBFloat16 ? "_bf16"
                                                                               : "_f32";
  return std::string(kernels::CpuLevelName(arithmetic.level)) + products + "_kv_" +
         kernels::KvDTypeName(arithmetic.kv_cache);
}

void PrintTo(const Arithmetic& arithmetic, std::ostream* out) { *out << NameOf(arithmetic); }

std::vector<Arithmetic> AllArithmetic() {
  std::vector<Arithmetic> all;
  for (const CpuLevel level : kernels::kAllCpuLevels) {
    all.push_back({level, CpuProducts::kFloat32, KvDType::kF32});
    all.push_back({level, CpuProducts::kInt8, KvDType::kBF16});
    // Those of avx2_vnni are avx2's.
    if (level != CpuLevel::kAvx2Vnni) {
      all.push_back({level, CpuProducts::kBFloat16, KvDType::kBF16});
    }
    if (level == CpuLevel::kPortable) continue;  // It is slow, and has seen all sorts of products.
    all.push_back({level, CpuProducts::kInt8, KvDType::kInt8});
  }
  return all;
}

// How requests are run.
struct Schedule {
  int threads = 1;
  // Of one step: longer prompts are cut into chunks, as short ones are when they share a step.
  int max_step_tokens = 0;
  bool together = false;
};

constexpr int kMaxStepTokens = 512;
constexpr int kKvBlocks = 256;
constexpr int kMaxSeqs = 12;
constexpr int kNewTokens = 8;
constexpr int kLongPromptTokens = 1040;

// Logits that a token was drawn from.
struct Draw {
  int32_t position;
  int32_t token;
  uint32_t log_prob;  // Of the token: its bits.
  uint64_t digest;    // Of the bits of all logits.

  friend auto operator<=>(const Draw&, const Draw&) = default;
};

void PrintTo(const Draw& draw, std::ostream* out) {
  *out << "token " << draw.token << " at " << draw.position << ", log-probability "
       << std::bit_cast<float>(draw.log_prob) << ", digest " << draw.digest;
}

// All that was computed.
struct Outcome {
  std::vector<std::vector<int32_t>> tokens;      // Of each request.
  std::vector<std::vector<uint32_t>> log_probs;  // Of its prompt and tokens, as bits.
  std::vector<Draw> draws;                       // Of all requests, in ascending order.
};

uint64_t Digest(const std::vector<float>& values) {
  uint64_t digest = 14695981039346656037u;  // FNV-1a, by words.
  for (const float value : values) {
    digest = (digest ^ std::bit_cast<uint32_t>(value)) * 1099511628211u;
  }
  return digest;
}

// Runs steps on a group and notes what tokens are drawn from.
class DrawRecorder final : public StepExecutor {
 public:
  explicit DrawRecorder(RankGroup* group) : group_(*group) {}

  absl::Status Submit(Step step) override {
    step_ = std::move(step);
    return absl::OkStatus();
  }
  absl::StatusOr<StepResult> Await() override {
    absl::StatusOr<StepResult> result = group_.Run(step_);
    if (!result.ok()) return result;
    const auto sampling = std::as_const(step_.sampling).arrays();
    for (size_t i = 0; i < result->tokens.size(); ++i) {
      const std::vector<float> logits = group_.Logits(static_cast<int>(i));
      const int32_t token = result->tokens[i];
      draws_.push_back({sampling.sampling[i].position, token,
                        std::bit_cast<uint32_t>(kernels::LogProb(logits, token)), Digest(logits)});
    }
    return result;
  }

  std::vector<Draw> Sorted() {
    std::sort(draws_.begin(), draws_.end());
    return draws_;
  }

 private:
  RankGroup& group_;
  Step step_;
  std::vector<Draw> draws_;
};

// Runs requests through an engine, all at once or each when the one before has ended.
std::vector<RecordingSink::Record> RunEngine(const RankGroup& group, DrawRecorder& executor,
                                             const Schedule& schedule,
                                             const std::vector<GenerationRequest>& requests) {
  prometheus::Registry registry;
  EngineMetrics metrics(registry);
  FakeClock clock;
  Engine engine({.limits = {.max_step_tokens = schedule.max_step_tokens,
                            .max_seqs = kMaxSeqs,
                            .max_blocks_per_seq = kKvBlocks,
                            .kv_blocks = kKvBlocks},
                 .request_limits = {.vocab_size = group.spec().vocab,
                                    .context_tokens = group.spec().context_tokens}},
                &executor, &clock, &metrics);
  RecordingSink sink;
  const auto session = *engine.OpenSession(&sink);
  const auto run = [&](size_t i) {
    while (!sink.Get(RequestId{i}).ended()) ASSERT_TRUE(engine.RunOnce());
  };
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_TRUE(session->Submit(RequestId{i}, requests[i]).ok());
    if (!schedule.together) run(i);
  }
  std::vector<RecordingSink::Record> records;
  for (size_t i = 0; i < requests.size(); ++i) {
    run(i);
    records.push_back(sink.Get(RequestId{i}));
    EXPECT_TRUE(records.back().error.ok()) << records.back().error;
  }
  return records;
}

// The prompts of the golden answers, the first one twice, and then a long one that they make
// together, so that its keys fill more than one segment of attention
// (kernels/cpu/paged_attention.h).
std::vector<std::vector<int32_t>> ReadPrompts() {
  std::ifstream file(std::getenv("GREEDY_JSON"));
  const nlohmann::json golden = nlohmann::json::parse(file);
  std::vector<std::vector<int32_t>> prompts;
  std::vector<int32_t> all;
  for (const nlohmann::json& item : golden["answers"]) {
    const std::vector<int32_t> prompt = item["prompt_ids"];
    const std::vector<int32_t> answer = item["token_ids"];
    all.insert(all.end(), prompt.begin(), prompt.end());
    all.insert(all.end(), answer.begin(), answer.end());
    prompts.push_back(prompt);
  }
  std::vector<int32_t> long_prompt;
  while (long_prompt.size() < kLongPromptTokens) {
    long_prompt.push_back(all[long_prompt.size() % all.size()]);
  }
  prompts.push_back(prompts.front());
  prompts.push_back(long_prompt);
  return prompts;
}

class SmolLm2SameBitsTest : public testing::TestWithParam<Arithmetic> {
 protected:
  void SetUp() override {
    const absl::Status status = kernels::MakeCpuBackend({.level = GetParam().level}).status();
    if (!status.ok()) GTEST_SKIP() << status;
    prompts_ = ReadPrompts();
    // What is slow is shown with less.
    if (GetParam().level == CpuLevel::kPortable) prompts_.resize(2);
  }

  RankGroup MakeGroup(int threads) const {
    return RankGroup(std::getenv("SMOLLM2"), /*world=*/1,
                     {.max_step_tokens = kMaxStepTokens,
                      .max_seqs = kMaxSeqs,
                      .max_blocks_per_seq = kKvBlocks,
                      .kv_blocks = kKvBlocks},
                     [&] {
                       return *kernels::MakeCpuBackend({.num_threads = threads,
                                                        .level = GetParam().level,
                                                        .products = GetParam().products,
                                                        .kv_cache = GetParam().kv_cache});
                     });
  }

  // Every second request is greedy, the others draw at random. Then the answers are scored, as
  // prompts are.
  Outcome Run(RankGroup& group, const Schedule& schedule) const {
    std::vector<GenerationRequest> requests;
    for (size_t i = 0; i < prompts_.size(); ++i) {
      GenerationRequest request;
      request.prompt_token_ids = prompts_[i];
      request.max_new_tokens = kNewTokens;
      request.seed = i;
      if (i % 2 == 1) request.sampling = {.temperature = 0.8f, .top_k = 50, .top_p = 0.95f};
      requests.push_back(request);
    }
    Outcome outcome;
    DrawRecorder executor(&group);
    std::vector<GenerationRequest> scores;
    for (const auto& record : RunEngine(group, executor, schedule, requests)) {
      GenerationRequest score = requests[outcome.tokens.size()];
      outcome.tokens.push_back(record.tokens);
      // Which would take most of the time, for nothing new.
      if (score.prompt_token_ids.size() == kLongPromptTokens) continue;
      score.prompt_token_ids.insert(score.prompt_token_ids.end(), record.tokens.begin(),
                                    record.tokens.end());
      score.max_new_tokens = 0;
      score.score = true;
      scores.push_back(score);
    }
    outcome.draws = executor.Sorted();
    for (const auto& record : RunEngine(group, executor, schedule, scores)) {
      std::vector<uint32_t>& bits = outcome.log_probs.emplace_back();
      for (const float value : record.log_probs) bits.push_back(std::bit_cast<uint32_t>(value));
    }
    return outcome;
  }

  // What a token was drawn with, one row in a step, is what it scores, many rows in a step.
  void ExpectScoresOfDraws(const Outcome& outcome, size_t i) const {
    ASSERT_EQ(outcome.log_probs[i].size(), prompts_[i].size() + kNewTokens - 1);
    for (int n = 0; n < kNewTokens; ++n) {
      const auto position = static_cast<int32_t>(prompts_[i].size()) + n;
      const auto is_same = [&](const Draw& draw) {
        return draw.position == position && draw.token == outcome.tokens[i][n] &&
               draw.log_prob == outcome.log_probs[i][position - 1];
      };
      EXPECT_TRUE(std::any_of(outcome.draws.begin(), outcome.draws.end(), is_same))
          << "token " << n << " of prompt " << i;
    }
  }

  std::vector<std::vector<int32_t>> prompts_;
};

void ExpectEqual(const Outcome& outcome, const Outcome& expected) {
  EXPECT_EQ(outcome.draws, expected.draws);
  ASSERT_EQ(outcome.tokens.size(), expected.tokens.size());
  for (size_t i = 0; i < expected.tokens.size(); ++i) {
    EXPECT_EQ(outcome.tokens[i], expected.tokens[i]) << "prompt " << i;
  }
  EXPECT_EQ(outcome.log_probs, expected.log_probs);
}

TEST_P(SmolLm2SameBitsTest, InAnyBatchAndAnyChunksOnAnyThreads) {
  const Schedule alone = {.max_step_tokens = kMaxStepTokens};
  RankGroup on_one_thread = MakeGroup(1);
  const Outcome expected = Run(on_one_thread, alone);
  ASSERT_EQ(expected.draws.size(), prompts_.size() * kNewTokens);
  for (size_t i = 0; i < expected.log_probs.size(); ++i) {
    ExpectScoresOfDraws(expected, i);
  }
  for (const Schedule& schedule : {Schedule{2, 250, true}, Schedule{3, 61, true}}) {
    SCOPED_TRACE(testing::Message()
                 << schedule.threads << " threads, up to " << schedule.max_step_tokens
                 << " tokens in a step, " << (schedule.together ? "together" : "one by one"));
    RankGroup group = MakeGroup(schedule.threads);
    ExpectEqual(Run(group, schedule), expected);
  }
}

INSTANTIATE_TEST_SUITE_P(Arithmetic, SmolLm2SameBitsTest, testing::ValuesIn(AllArithmetic()),
                         [](const auto& info) { return NameOf(info.param); });

}  // namespace
}  // namespace phalanx
