// On a CPU the logits of every token have the same bits whether or not the beginning of its
// sequence came from the prefix cache: computed in other chunks, by another request, before an
// eviction or a preemption.
#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/step_batch.h"
#include "model/spec/long_rope.h"
#include "model/testing/tiny_hf_model.h"
#include "model/testing/tiny_model.h"
#include "worker/engine/scheduler.h"
#include "worker/model/testing/rank_group.h"
#include "worker/step/step.h"

namespace phalanx {
namespace {

constexpr int kNewTokens = 40;

struct Served {
  std::vector<int32_t> tokens;
  // Those that each token was drawn from.
  std::vector<std::vector<float>> logits;
  int cached_tokens = 0;

  friend bool operator==(const Served& a, const Served& b) {
    return a.tokens == b.tokens && a.logits == b.logits;
  }
};

// A scheduler and the ranks of a model.
class Server {
 public:
  // Under LongRopePolicy::kReference, with `original_context_tokens` for a model with two lists.
  Server(const std::string& path, int world, int original_context_tokens, const StepLimits& limits,
         bool prefix_cache)
      : original_context_tokens_(original_context_tokens),
        group_(path, world, limits, [] { return *kernels::MakeCpuBackend({.num_threads = 1}); }),
        scheduler_(limits, prefix_cache) {}

  // Runs the prompts beside each other, greedily.
  std::vector<Served> Serve(const std::vector<std::vector<int32_t>>& prompts) {
    std::map<SequenceId, size_t> numbers;
    std::vector<Served> served(prompts.size());
    for (size_t i = 0; i < prompts.size(); ++i) {
      const SequenceId id{next_id_++};
      numbers[id] = i;
      scheduler_.Add(id, {.prompt_token_ids = prompts[i],
                          .max_new_tokens = kNewTokens,
                          .sampling = {.temperature = 0},
                          .rope = PlanRope(LongRopePolicy::kReference, original_context_tokens_,
                                           static_cast<int>(prompts[i].size()), kNewTokens)});
    }
    while (!scheduler_.empty() && !testing::Test::HasFatalFailure()) Step(numbers, served);
    return served;
  }

  int preemptions() const { return preemptions_; }
  int64_t evictions() const { return scheduler_.evictions(); }

 private:
  void Step(const std::map<SequenceId, size_t>& numbers, std::vector<Served>& served) {
    StepPlan plan = scheduler_.Plan(absl::UnixEpoch());
    preemptions_ += plan.preemptions;
    const absl::StatusOr<StepResult> result = group_.Run(plan.step);
    ASSERT_TRUE(result.ok()) << result.status();
    scheduler_.Resolve(plan, result->tokens);
    int row = 0;
    for (const PlannedChunk& chunk : plan.chunks) {
      Served& one = served[numbers.at(chunk.id)];
      one.cached_tokens += chunk.cached_tokens;
      if (!chunk.draws) continue;
      one.logits.push_back(group_.Logits(row));
      one.tokens.push_back(result->tokens[row++]);
      if (one.tokens.size() == kNewTokens) scheduler_.Remove(chunk.id);
    }
  }

  const int original_context_tokens_;
  RankGroup group_;
  Scheduler scheduler_;
  uint64_t next_id_ = 0;
  int preemptions_ = 0;
};

struct Model {
  std::string name;
  std::string path;
  int original_context_tokens = 0;
};

class PrefixCacheLogitsTest : public testing::TestWithParam<int> {
 protected:
  static constexpr int kPromptTokens = 70;

  PrefixCacheLogitsTest()
      : models_(
            {{"llama", WriteTinyModel("logits.gguf"), 0},
             {"phi with LongRoPE",
              WriteTinyHfModel("logits", {.architecture = "phi3", .original_context_tokens = 64}),
              64}}) {}

  static StepLimits Limits(int step_tokens, int blocks) {
    return {.max_step_tokens = step_tokens,
            .max_seqs = 4,
            .max_blocks_per_seq = 8,
            .kv_blocks = blocks};
  }

  static std::vector<int32_t> Prompt(int num_tokens, uint32_t seed = 1) {
    std::mt19937 random(seed);
    std::vector<int32_t> tokens(num_tokens);
    for (int32_t& token : tokens) token = static_cast<int32_t>(random() % kTinyVocab);
    return tokens;
  }

  // The prompt on a server of its own that computes it whole.
  static Served Alone(const Model& model, const std::vector<int32_t>& prompt) {
    return Server(model.path, GetParam(), model.original_context_tokens, Limits(128, 8), false)
        .Serve({prompt})[0];
  }

  std::vector<Model> models_;
};

TEST_P(PrefixCacheLogitsTest, AHitGivesTheBitsOfAMissInAnyChunks) {
  for (const Model& model : models_) {
    SCOPED_TRACE(model.name);
    std::vector<int32_t> other = Prompt(kPromptTokens);
    other.back() += other.back() == 0 ? 1 : -1;
    const Served expected = Alone(model, Prompt(kPromptTokens));
    const Served other_expected = Alone(model, other);
    ASSERT_FALSE(expected == other_expected);
    for (const int step_tokens : {5, 16, 29, 128}) {
      SCOPED_TRACE(step_tokens);
      Server server(model.path, GetParam(), model.original_context_tokens, Limits(step_tokens, 24),
                    true);
      const Served miss = server.Serve({Prompt(kPromptTokens)})[0];
      EXPECT_EQ(miss.cached_tokens, 0);
      EXPECT_TRUE(miss == expected);
      const std::vector<Served> hits = server.Serve({Prompt(kPromptTokens), other});
      EXPECT_EQ(hits[0].cached_tokens, 64);
      EXPECT_EQ(hits[1].cached_tokens, 64);
      EXPECT_TRUE(hits[0] == expected);
      EXPECT_TRUE(hits[1] == other_expected);
    }
  }
}

TEST_P(PrefixCacheLogitsTest, AnAnswerThatIsAskedAboutGivesTheBitsOfAPrompt) {
  for (const Model& model : models_) {
    SCOPED_TRACE(model.name);
    Server server(model.path, GetParam(), model.original_context_tokens, Limits(32, 24), true);
    // With LongRoPE it is computed anew when it has 65 tokens.
    std::vector<int32_t> dialog = Prompt(40);
    const std::vector<int32_t> answer = server.Serve({dialog})[0].tokens;
    dialog.insert(dialog.end(), answer.begin(), answer.end());
    dialog.resize(86, 3);
    const Served next_turn = server.Serve({dialog})[0];
    EXPECT_EQ(next_turn.cached_tokens, 64) << "of 79 that were computed";
    EXPECT_TRUE(next_turn == Alone(model, dialog));
  }
}

TEST_P(PrefixCacheLogitsTest, EvictionAndPreemptionChangeNoBit) {
  for (const Model& model : models_) {
    SCOPED_TRACE(model.name);
    // Three sequences share two blocks and have up to five more each. With LongRoPE they share two
    // others after 64 tokens.
    Server server(model.path, GetParam(), model.original_context_tokens, Limits(40, 11), true);
    std::vector<std::vector<int32_t>> prompts;
    for (const uint32_t seed : {1, 2, 3}) {
      prompts.push_back(Prompt(36));
      for (const int32_t token : Prompt(22, seed)) prompts.back().push_back(token);
    }
    std::vector<Served> expected;
    for (const std::vector<int32_t>& prompt : prompts) expected.push_back(Alone(model, prompt));
    for (int round = 0; round < 3; ++round) {
      const std::vector<Served> served = server.Serve(prompts);
      for (size_t i = 0; i < prompts.size(); ++i) EXPECT_TRUE(served[i] == expected[i]) << i;
    }
    EXPECT_GT(server.evictions(), 0);
    EXPECT_GT(server.preemptions(), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, PrefixCacheLogitsTest, testing::Values(1, 2));

}  // namespace
}  // namespace phalanx
