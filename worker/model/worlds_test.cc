// As many ranks as a model has KV heads, as threads of one process: the tokens are those of one
// rank, and a step sends what docs/parallelism.md says. With real processes: tests/e2e.
#include <cstdint>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "model/testing/tiny_hf_model.h"
#include "worker/model/testing/decoder_fixture.h"
#include "worker/model/testing/rank_group.h"
#include "worker/step/testing/step_builder.h"

namespace phalanx {
namespace {

class WorldsTest : public testing::TestWithParam<std::string> {
 protected:
  // Of three ranks, two have 3 KV heads and one has 2, with more of the 9 blocks of columns.
  WorldsTest()
      : path_(WriteTinyHfModel("worlds_" + GetParam(), {.architecture = GetParam(),
                                                        .hidden = 128,
                                                        .num_q_heads = 16,
                                                        .num_kv_heads = 8,
                                                        .head_dim = 16,
                                                        .ffn = 288})) {}

  const std::string path_;
};

TEST_P(WorldsTest, TokensAreThoseOfOneRank) {
  const kernels::SamplingRow samplings[] = {
      {}, {.temperature = 1.0f, .seed = 5}, {.temperature = 1.5f, .top_p = 0.9f, .seed = 6}};
  std::vector<std::vector<int32_t>> expected;
  for (const int world : {1, 2, 3, 4, 8}) {
    RankGroup group(path_, world, kLimits, Cpu);
    std::vector<TestSequence> sequences;
    for (int i = 0; i < 3; ++i) sequences.push_back(Sequence(i, RandomTokens(9 + i, 20 + i)));
    for (int step = 0; step < 16; ++step) {
      StepBuilder builder;
      for (int i = 0; i < 3; ++i) {
        builder.Add(sequences[i], sequences[i].pending_tokens(), samplings[i]);
      }
      const auto result = group.Run(builder.Finish());
      ASSERT_TRUE(result.ok()) << result.status();
      for (int i = 0; i < 3; ++i) sequences[i].tokens.push_back(result->tokens[i]);
    }
    std::vector<std::vector<int32_t>> tokens;
    for (const TestSequence& sequence : sequences) tokens.push_back(sequence.tokens);
    if (world == 1) expected = tokens;
    EXPECT_EQ(tokens, expected) << world << " ranks";
  }
}

TEST_P(WorldsTest, AStepSendsWhatTheFormulaSays) {
  for (const int world : {1, 2, 3, 4, 8}) {
    RankGroup group(path_, world, kLimits, Cpu);
    const ModelSpec& spec = group.spec();
    TestSequence sequence = Sequence(0, RandomTokens(12, 3));
    for (const int tokens : {7, 5, 1}) {
      StepBuilder builder;
      builder.Add(sequence, tokens);
      const bool draws = sequence.pending_tokens() == 0;
      const uint64_t before = group.bytes_sent();
      const auto step = group.Run(builder.Finish());
      ASSERT_TRUE(step.ok()) << step.status();
      const uint64_t sums = uint64_t{4} * (2 * spec.num_layers + 1) * tokens * spec.hidden;
      const uint64_t expected = world == 1 ? 0 : sums + (draws ? 8 : 0);
      EXPECT_EQ(step->comm_bytes, expected) << world << " ranks, " << tokens << " tokens";
      EXPECT_EQ(group.bytes_sent() - before, expected * world);
      if (draws) sequence.tokens.push_back(step->tokens[0]);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, WorldsTest, testing::Values("llama", "phi3", "qwen2"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace phalanx
