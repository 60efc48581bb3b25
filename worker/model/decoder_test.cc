#include "worker/model/decoder.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"
#include "kernels/sampling/adjust.h"
#include "kernels/sampling/log_prob.h"
#include "kernels/sampling/sample.h"
#include "kernels/testing/op_recorder.h"
#include "model/testing/tiny_model.h"
#include "worker/model/testing/decoder_fixture.h"
#include "worker/model/testing/rank_group.h"
#include "worker/step/testing/step_builder.h"

namespace phalanx {
namespace {

using kernels::DType;

// Runs `count` pending tokens of one sequence alone and returns the logits of the last.
std::vector<float> RunAlone(RankGroup& group, TestSequence& sequence, int count) {
  StepBuilder builder;
  builder.Add(sequence, count);
  const auto step = group.Run(builder.Finish());
  EXPECT_TRUE(step.ok()) << step.status();
  return group.Logits(0);
}

std::vector<float> PromptLogits(RankGroup& group, const std::vector<int32_t>& prompt) {
  TestSequence sequence = Sequence(0, prompt);
  return RunAlone(group, sequence, sequence.pending_tokens());
}

std::vector<int32_t> Greedy(RankGroup& group, const std::vector<int32_t>& prompt, int count) {
  TestSequence sequence = Sequence(0, prompt);
  for (int i = 0; i < count; ++i) {
    StepBuilder builder;
    builder.Add(sequence, sequence.pending_tokens());
    const auto step = group.Run(builder.Finish());
    if (!step.ok()) {
      ADD_FAILURE() << step.status();
      break;
    }
    sequence.tokens.push_back(step->tokens.front());
  }
  return {sequence.tokens.begin() + prompt.size(), sequence.tokens.end()};
}

// Half the distance from 1 to the next number.
float RoundingOf(DType dtype) { return dtype == DType::kBF16 ? 0x1p-8f : 0x1p-24f; }

// How far logits may drift when sums are taken in another order and activations are stored as
// `stored`. A sum of n terms in float32 differs by about sqrt(n) roundings of its size. What the
// terms themselves were rounded by before is independent, so it makes a sum differ by about one of
// these roundings, whatever n is. Each layer passes its input on and adds two such products, the
// logits are a last one; 8 for the factors by which norms and softmax magnify.
float Tolerance(const ModelSpec& spec, const std::vector<float>& logits,
                DType stored = DType::kF32) {
  float largest = 0;
  for (const float logit : logits) largest = std::max(largest, std::abs(logit));
  const float terms = static_cast<float>(std::max(spec.hidden, spec.ffn));
  const float products = static_cast<float>(2 * spec.num_layers + 1);
  float roundings = RoundingOf(DType::kF32) * std::sqrt(terms);
  if (stored != DType::kF32) roundings += RoundingOf(stored);
  return 8 * roundings * products * largest;
}

void ExpectNear(const std::vector<float>& logits, const std::vector<float>& expected,
                float tolerance) {
  ASSERT_EQ(logits.size(), expected.size());
  float difference = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    difference = std::max(difference, std::abs(logits[i] - expected[i]));
  }
  EXPECT_LE(difference, tolerance);
}

TEST(DecoderTest, LogitsAreThoseOfTheReferenceOnAnyNumberOfRanks) {
  const std::string path = WriteTinyModel("worlds.gguf");
  const std::vector<int32_t> prompt = RandomTokens(37, 1);
  RankGroup reference(path, 1, kLimits, kernels::MakeReferenceBackend);
  const std::vector<float> expected = PromptLogits(reference, prompt);
  EXPECT_GT(*std::max_element(expected.begin(), expected.end()), 0.5f) << "logits must differ";
  const float tolerance = Tolerance(reference.spec(), expected);
  for (int world = 1; world <= 3; ++world) {
    SCOPED_TRACE(world);
    RankGroup group(path, world, kLimits, Cpu);
    ExpectNear(PromptLogits(group, prompt), expected, tolerance);
  }
}

float LargestDifference(const std::vector<float>& a, const std::vector<float>& b) {
  float difference = 0;
  for (size_t i = 0; i < a.size(); ++i) difference = std::max(difference, std::abs(a[i] - b[i]));
  return difference;
}

TEST(DecoderTest, ActivationsMayBeOfAShorterType) {
  const std::string path = WriteTinyModel("types.gguf");
  const std::vector<int32_t> prompt = RandomTokens(37, 1);
  RankGroup wide(path, 1, kLimits, kernels::MakeReferenceBackend);
  const std::vector<float> expected = PromptLogits(wide, prompt);
  for (const DType residual : {DType::kF32, DType::kBF16}) {
    SCOPED_TRACE(kernels::DTypeName(residual));
    RankGroup narrow(path, 1, kLimits, [&] {
      return kernels::MakeTypedReferenceBackend(
          {.activations = DType::kBF16, .residual = residual});
    });
    const std::vector<float> logits = PromptLogits(narrow, prompt);
    ExpectNear(logits, expected, Tolerance(wide.spec(), expected, DType::kBF16));
    // Ranks sum partial results that were rounded, which is within the same bound.
    RankGroup pair(path, 2, kLimits, [&] {
      return kernels::MakeTypedReferenceBackend(
          {.activations = DType::kBF16, .residual = residual});
    });
    ExpectNear(PromptLogits(pair, prompt), expected,
               Tolerance(wide.spec(), expected, DType::kBF16));
    // It does round.
    EXPECT_GT(LargestDifference(logits, expected), Tolerance(wide.spec(), expected));
    EXPECT_LT(narrow.decoder(0).activation_bytes(), wide.decoder(0).activation_bytes());
  }
}

TEST(DecoderTest, GreedyTokensAreTheSameOnAnyNumberOfRanks) {
  for (const bool untied : {false, true}) {
    const std::string path = WriteTinyModel("greedy.gguf", {.untied_output = untied, .seed = 7});
    const std::vector<int32_t> prompt = RandomTokens(20, 2);
    RankGroup reference(path, 1, kLimits, kernels::MakeReferenceBackend);
    const std::vector<int32_t> expected = Greedy(reference, prompt, 24);
    for (int world = 1; world <= 3; ++world) {
      RankGroup group(path, world, kLimits, Cpu);
      EXPECT_EQ(Greedy(group, prompt, 24), expected) << world << " ranks";
    }
  }
}

class BatchInvarianceTest : public testing::TestWithParam<int> {
 protected:
  BatchInvarianceTest()
      : group_(WriteTinyModel("batch.gguf"), /*world=*/GetParam(), kLimits, Cpu) {}
  RankGroup group_;
};

TEST_P(BatchInvarianceTest, ChunkedPromptGivesTheBitsOfAWholeOne) {
  const std::vector<int32_t> prompt = RandomTokens(61, 3);
  const std::vector<float> whole = PromptLogits(group_, prompt);
  for (const int chunk : {1, 5, 16, 30}) {
    TestSequence sequence = Sequence(1, prompt);
    std::vector<float> logits;
    while (sequence.pending_tokens() > 0) {
      logits = RunAlone(group_, sequence, std::min(chunk, sequence.pending_tokens()));
    }
    EXPECT_EQ(logits, whole) << "chunks of " << chunk;
  }
}

TEST_P(BatchInvarianceTest, SequencesInOneStepGiveTheBitsOfEachAlone) {
  std::vector<std::vector<int32_t>> prompts;
  std::vector<std::vector<float>> alone;
  for (int i = 0; i < 4; ++i) {
    prompts.push_back(RandomTokens(7 + 6 * i, 10 + i));
    alone.push_back(PromptLogits(group_, prompts[i]));
  }
  // Two are decoding (one token each), one comes whole, one in its second chunk.
  std::vector<TestSequence> sequences;
  for (int i = 0; i < 4; ++i) sequences.push_back(Sequence(i, prompts[i]));
  RunAlone(group_, sequences[0], sequences[0].pending_tokens() - 1);
  RunAlone(group_, sequences[2], sequences[2].pending_tokens() - 1);
  RunAlone(group_, sequences[3], 9);
  StepBuilder builder;
  for (TestSequence& sequence : sequences) builder.Add(sequence, sequence.pending_tokens());
  const auto step = group_.Run(builder.Finish());
  ASSERT_TRUE(step.ok()) << step.status();
  ASSERT_EQ(step->tokens.size(), 4u);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(group_.Logits(i), alone[i]) << "sequence " << i;
    const auto best = std::max_element(alone[i].begin(), alone[i].end()) - alone[i].begin();
    EXPECT_EQ(step->tokens[i], best);
  }
}

TEST_P(BatchInvarianceTest, SampledTokensDependOnSeedAndPositionOnly) {
  const std::vector<int32_t> prompt = RandomTokens(10, 4);
  const kernels::SamplingRow sampling = {.temperature = 1.0f, .seed = 99};
  std::vector<int32_t> drawn;
  for (const int others : {0, 3}) {
    TestSequence sequence = Sequence(3, prompt);
    StepBuilder builder;
    std::vector<TestSequence> batch;
    for (int i = 0; i < others; ++i) batch.push_back(Sequence(i, RandomTokens(4, 20 + i)));
    for (TestSequence& other : batch) builder.Add(other, 4);
    builder.Add(sequence, sequence.pending_tokens(), sampling);
    const auto step = group_.Run(builder.Finish());
    ASSERT_TRUE(step.ok()) << step.status();
    drawn.push_back(step->tokens.back());
  }
  EXPECT_EQ(drawn[0], drawn[1]);
}

INSTANTIATE_TEST_SUITE_P(Worlds, BatchInvarianceTest, testing::Values(1, 2, 3));

// Fills up each decode to the next power of two.
class PaddingBackend final : public kernels::OpRecorder {
 public:
  PaddingBackend() : OpRecorder(Cpu()) {}
  int DecodeBatchSize(int num_seqs) const override {
    return static_cast<int>(std::bit_ceil(static_cast<uint32_t>(num_seqs)));
  }
};

TEST(DecoderTest, RowsThatFillUpABatchChangeNothing) {
  const std::string path = WriteTinyModel("padding.gguf");
  for (int world = 1; world <= 2; ++world) {
    RankGroup plain(path, world, kLimits, Cpu);
    RankGroup padding(path, world, kLimits, [] { return std::make_unique<PaddingBackend>(); });
    std::vector<TestSequence> sequences;
    for (int i = 0; i < 3; ++i) sequences.push_back(Sequence(i, RandomTokens(15 + i, 30 + i)));
    // The first step is a prefill, then the three decode, which makes four rows.
    for (int step = 0; step < 6; ++step) {
      StepBuilder builder;
      for (TestSequence& sequence : sequences) builder.Add(sequence, sequence.pending_tokens());
      const Step both = builder.Finish();
      const auto expected = plain.Run(both);
      const auto result = padding.Run(both);
      ASSERT_TRUE(expected.ok() && result.ok()) << result.status();
      EXPECT_EQ(result->tokens, expected->tokens);
      for (int row = 0; row < 3; ++row) {
        EXPECT_EQ(padding.Logits(row), plain.Logits(row)) << "step " << step << ", row " << row;
        sequences[row].tokens.push_back(expected->tokens[row]);
      }
    }
  }
}

// The step after one whose token the host has not read, on every rank.
TEST(DecoderTest, ATokenMayBeNamedByItsSlot) {
  const std::string path = WriteTinyModel("last_token.gguf");
  for (int world = 1; world <= 3; ++world) {
    RankGroup group(path, world, kLimits, Cpu);
    const std::vector<int32_t> prompt = RandomTokens(15, 8);
    const std::vector<int32_t> expected = Greedy(group, prompt, 6);
    TestSequence sequence = Sequence(2, prompt);
    std::vector<int32_t> tokens;
    for (int i = 0; i < 6; ++i) {
      StepBuilder builder;
      builder.Add(sequence, sequence.pending_tokens());
      const auto step = group.Run(builder.Finish());
      ASSERT_TRUE(step.ok()) << step.status();
      tokens.push_back(step->tokens.front());
      sequence.tokens.push_back(kernels::kLastToken);
    }
    EXPECT_EQ(tokens, expected) << world << " ranks";
  }
}

// The sampling of a step comes when the result of the one before is known.
TEST(DecoderTest, AStepMayBeAwaitedBetweenThePartsOfTheNext) {
  RankGroup group(WriteTinyModel("two_parts.gguf"), 1, kLimits, Cpu);
  const std::vector<int32_t> prompt = RandomTokens(15, 8);
  const std::vector<int32_t> expected = Greedy(group, prompt, 6);
  Decoder& decoder = group.decoder(0);
  TestSequence sequence = Sequence(2, prompt);
  std::vector<int32_t> tokens;
  for (int i = 0; i < 6; ++i) {
    StepBuilder builder;
    builder.Add(sequence, sequence.pending_tokens());
    const Step step = builder.Finish();
    ASSERT_TRUE(decoder.LaunchForward(step.forward).ok());
    EXPECT_FALSE(decoder.LaunchForward(step.forward).ok()) << "it is the turn of the sampling";
    if (i > 0) tokens.push_back(decoder.Await()->tokens.front());
    ASSERT_TRUE(decoder.LaunchSampling(step.sampling).ok());
    sequence.tokens.push_back(kernels::kLastToken);
  }
  tokens.push_back(decoder.Await()->tokens.front());
  EXPECT_EQ(tokens, expected);
}

// What a step of `tokens` tokens sends without sampling: the sums after the embedding and after
// both halves of each layer, once from each rank.
uint64_t BytesOfSums(const ModelSpec& spec, int tokens, int world) {
  return sizeof(float) * static_cast<uint64_t>(2 * spec.num_layers + 1) * tokens * spec.hidden *
         world;
}

// Four rows, each drawn in its own way.
TEST(DecoderTest, RanksDrawTheTokensOfAllTheirLogitsWithoutGatheringThem) {
  const std::string path = WriteTinyModel("sharded_sampling.gguf");
  const kernels::SamplingRow rows[] = {
      {},
      {.temperature = 1.5f, .seed = 1},
      {.temperature = 1.5f, .top_k = 40, .seed = 2},
      {.temperature = 1.5f, .top_k = 90, .top_p = 0.7f, .seed = 3}};
  for (const int world : {2, 3}) {
    RankGroup group(path, world, kLimits, Cpu);
    StepBuilder builder;
    std::vector<TestSequence> sequences;
    for (int i = 0; i < 4; ++i) {
      sequences.push_back(Sequence(i, RandomTokens(5 + i, 40 + i)));
      builder.Add(sequences.back(), 5 + i, rows[i]);
    }
    const Step input = builder.Finish();
    const auto step = group.Run(input);
    ASSERT_TRUE(step.ok()) << step.status();
    for (int i = 0; i < 4; ++i) {
      const kernels::SamplingRow& row = input.sampling.arrays().sampling[i];
      EXPECT_EQ(step->tokens[i], kernels::SampleToken(group.Logits(i), row))
          << "row " << i << ", " << world << " ranks";
    }
  }
}

TEST(DecoderTest, ARowCostsAFewWordsInAStep) {
  const std::string path = WriteTinyModel("step_bytes.gguf");
  for (const int world : {2, 3}) {
    RankGroup group(path, world, kLimits, Cpu);
    TestSequence sequence = Sequence(0, RandomTokens(21, 8));
    const auto sampling_bytes = [&](int tokens, const kernels::SamplingRow& row) {
      StepBuilder builder;
      builder.Add(sequence, tokens, row);
      const uint64_t before = group.bytes_sent();
      const auto step = group.Run(builder.Finish());
      EXPECT_TRUE(step.ok());
      const uint64_t sent = group.bytes_sent() - before;
      EXPECT_EQ(step->comm_bytes * world, sent) << "the step tells of other bytes";
      return sent - BytesOfSums(group.spec(), tokens, world);
    };
    // No row of logits is wanted yet.
    EXPECT_EQ(sampling_bytes(20, {}), 0u);
    const uint64_t word = sizeof(uint64_t) * world;
    const uint64_t gathered = sizeof(float) * group.spec().vocab;
    EXPECT_EQ(sampling_bytes(1, {}), word);
    EXPECT_LT(word, gathered);
    sequence.tokens.push_back(1);
    EXPECT_EQ(sampling_bytes(1, {.temperature = 1.0f}), 3 * word);
    EXPECT_LT(3 * word, gathered);
    sequence.tokens.push_back(2);
    // The tiny vocabulary would take fewer bytes; this is the same for every vocabulary.
    EXPECT_EQ(sampling_bytes(1, {.temperature = 1.0f, .top_p = 0.5f}),
              (3 + kernels::kCutDigits * kernels::kDigitValues) * word);
  }
}

// The tokens of rows with edits, masks and forced tokens are those of SampleToken on the logits
// after AdjustRow, and the log-probabilities are those before, on any number of ranks.
TEST(DecoderTest, RowsAreAdjustedBeforeTheDrawAndLogProbsAreOfTheModel) {
  const std::string path = WriteTinyModel("adjusted.gguf");
  constexpr int kRows = 4;
  for (const int world : {1, 2, 3}) {
    RankGroup group(path, world, kLimits, Cpu);
    const int vocab = group.spec().vocab;
    const auto run = [&](bool adjusted) {
      StepBuilder builder;
      std::vector<TestSequence> sequences;
      for (int i = 0; i < kRows; ++i) {
        sequences.push_back(Sequence(i, RandomTokens(5 + i, 40 + i)));
        builder.Add(sequences.back(), 5 + i,
                    {.temperature = i == 3 ? 0.0f : 1.5f,
                     .repetition_penalty = 1.5f,
                     .forced = adjusted && i == 2 ? 7 : kernels::kNotForced,
                     .log_probs = i == 3 ? kernels::kNoLogProbs : 2 + i,
                     .seed = 11});
        if (!adjusted || i == 2) continue;
        std::vector<kernels::LogitEdit> edits;
        for (int32_t token = i; token < vocab; token += 3) {
          edits.push_back({.token = token, .bias = 2.0f, .seen = token % 2});
        }
        builder.Adjust(edits, i == 0
                                  ? std::vector<uint32_t>()
                                  : std::vector<uint32_t>(kernels::MaskWords(vocab), 0x3c3c3c3c));
      }
      return builder.Finish();
    };
    ASSERT_TRUE(group.Run(run(false)).ok());
    std::vector<std::vector<float>> raw;
    for (int i = 0; i < kRows; ++i) raw.push_back(group.Logits(i));
    const Step input = run(true);
    const auto step = group.Run(input);
    ASSERT_TRUE(step.ok()) << step.status();
    ASSERT_EQ(step->drawn_log_probs.size(), kRows);
    const SamplingBlock::ConstArrays arrays = input.sampling.arrays();
    kernels::SamplingBatch batch;
    batch.edits = arrays.edits.data();
    batch.mask_words = arrays.mask_words.data();
    for (int i = 0; i < kRows; ++i) {
      const kernels::SamplingRow& row = arrays.sampling[i];
      std::vector<float> logits = raw[i];
      kernels::AdjustRow(batch, row, 0, absl::MakeSpan(logits));
      const int32_t token = step->tokens[i];
      EXPECT_EQ(token, kernels::SampleToken(logits, row)) << "row " << i << " of " << world;
      if (row.log_probs == kernels::kNoLogProbs) continue;
      const DrawnLogProbs& told = step->drawn_log_probs[i];
      EXPECT_EQ(told.log_prob, kernels::LogProb(raw[i], token)) << "row " << i << " of " << world;
      // Though other rows want more.
      ASSERT_EQ(static_cast<int>(told.top.size()), row.log_probs);
      EXPECT_EQ(told.top[0].id, kernels::SampleToken(raw[i], {}));
      for (const DrawnLogProbs::Token& top : told.top) {
        EXPECT_EQ(top.log_prob, kernels::LogProb(raw[i], top.id));
      }
    }
    EXPECT_EQ(step->tokens[2], 7);
  }
}

// More rows than there is memory for at once, so that they are scored in slices.
TEST(DecoderTest, ScoresAreThoseOfTheLogitsOfAllRanks) {
  const std::string path = WriteTinyModel("scores.gguf");
  const std::vector<int32_t> prompt = RandomTokens(11, 9);
  for (const int world : {1, 2, 3}) {
    RankGroup group(path, world, kLimits, Cpu);
    std::vector<float> expected;
    TestSequence one_by_one = Sequence(0, prompt);
    for (size_t t = 0; t + 1 < prompt.size(); ++t) {
      TestSequence so_far = one_by_one;
      so_far.tokens.resize(t + 1);
      expected.push_back(kernels::LogProb(RunAlone(group, so_far, 1), prompt[t + 1]));
      ++one_by_one.cached_tokens;
      one_by_one.blocks_told = so_far.blocks_told;
    }
    TestSequence sequence = Sequence(1, prompt);
    StepBuilder builder;
    builder.Add(sequence, sequence.pending_tokens() - 1);
    const auto num_tokens = static_cast<int>(prompt.size()) - 1;
    for (int32_t t = 0; t < num_tokens; ++t) builder.Score(t, prompt[t + 1]);
    const uint64_t before = group.bytes_sent();
    const auto step = group.Run(builder.Finish());
    ASSERT_TRUE(step.ok()) << step.status();
    EXPECT_EQ(step->log_probs, expected) << world << " ranks";
    const uint64_t words = (1 + kernels::kLogProbTerms) * num_tokens;
    const uint64_t score_bytes = sizeof(uint64_t) * words * world;
    EXPECT_EQ(group.bytes_sent() - before,
              world == 1 ? 0 : BytesOfSums(group.spec(), num_tokens, world) + score_bytes);
  }
}

TEST(DecoderTest, StepWithoutLogitRowsDrawsNothing) {
  RankGroup group(WriteTinyModel("rows.gguf"), 2, kLimits, Cpu);
  TestSequence sequence = Sequence(0, RandomTokens(20, 5));
  StepBuilder builder;
  builder.Add(sequence, 12);
  const auto step = group.Run(builder.Finish());
  ASSERT_TRUE(step.ok()) << step.status();
  EXPECT_TRUE(step->tokens.empty());
}

TEST(DecoderTest, BadPlanIsInternalAndChangesNothing) {
  RankGroup group(WriteTinyModel("bad_plan.gguf"), 1, kLimits, Cpu);
  const std::vector<int32_t> prompt = RandomTokens(20, 6);
  const std::vector<float> expected = PromptLogits(group, prompt);
  TestSequence sequence = Sequence(0, prompt);
  RunAlone(group, sequence, 19);
  StepBuilder builder;
  TestSequence copy = sequence;
  builder.Add(copy, 1);
  Step bad = builder.Finish();
  bad.forward.arrays().positions[0] = 0;
  EXPECT_EQ(group.Run(bad).status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(RunAlone(group, sequence, 1), expected);
}

TEST(DecoderTest, TellsMemoryAndTimeInCollectives) {
  const std::string path = WriteTinyModel("figures.gguf");
  RankGroup alone(path, 1, kLimits, Cpu);
  RankGroup pair(path, 2, kLimits, Cpu);
  TestSequence sequence = Sequence(0, RandomTokens(8, 1));
  StepBuilder builder;
  builder.Add(sequence, 8);
  const Step step = builder.Finish();
  EXPECT_EQ(alone.Run(step)->comm_time, absl::ZeroDuration());
  EXPECT_GT(pair.Run(step)->comm_time, absl::ZeroDuration());
  EXPECT_GT(pair.decoder(0).activation_bytes(), 0u);
  // Rank 0 of 2 holds two of three KV heads, rank 1 the third.
  EXPECT_LT(pair.decoder(1).kv_arena_bytes(), pair.decoder(0).kv_arena_bytes());
  EXPECT_LT(pair.decoder(0).kv_arena_bytes(), alone.decoder(0).kv_arena_bytes());
}

}  // namespace
}  // namespace phalanx
