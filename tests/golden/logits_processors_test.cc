// What changes and cuts rows of logits against the processors of Hugging Face's transformers, and
// log-probabilities against PyTorch's.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "kernels/sampling/adjust.h"
#include "kernels/sampling/log_prob.h"
#include "kernels/sampling/sharded_sample.h"
#include "nlohmann/json.hpp"

namespace phalanx::kernels {
namespace {

// Half of the distance between 1 and the next float32: what rounding changes at most, relatively.
constexpr double kRounding = 0x1p-24;

std::vector<nlohmann::json> ReadCases() {
  std::ifstream file(std::getenv("LOGITS_PROCESSORS_JSON"));
  return nlohmann::json::parse(file).at("cases");
}

std::vector<float> Floats(const nlohmann::json& hex) {
  const std::string bytes = absl::HexStringToBytes(hex.get_ref<const std::string&>());
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

SamplingRow RowOfCase(const nlohmann::json& golden) {
  return {.temperature = golden.at("temperature"),
          .top_k = golden.at("top_k"),
          .top_p = golden.at("top_p"),
          .min_p = golden.at("min_p"),
          .typical_p = golden.at("typical_p"),
          .repetition_penalty = golden.at("repetition_penalty"),
          .presence_penalty = golden.at("presence_penalty"),
          .frequency_penalty = golden.at("frequency_penalty")};
}

std::vector<LogitEdit> EditsOf(const nlohmann::json& golden) {
  std::map<int32_t, LogitEdit> edits;
  const auto edit = [&](int32_t token) -> LogitEdit& {
    edits[token].token = token;
    return edits[token];
  };
  for (const int32_t token : golden.at("prompt")) edit(token).seen = 1;
  for (const int32_t token : golden.at("answer")) {
    edit(token).seen = 1;
    ++edit(token).count;
  }
  for (const auto& bias : golden.at("logit_bias")) edit(bias[0]).bias = bias[1];
  std::vector<LogitEdit> list;
  for (const auto& [token, made] : edits) list.push_back(made);
  return list;
}

std::vector<float> Adjusted(const nlohmann::json& golden) {
  std::vector<float> logits = Floats(golden.at("logits"));
  const std::vector<LogitEdit> edits = EditsOf(golden);
  SamplingRow row = RowOfCase(golden);
  row.edits_end = static_cast<int32_t>(edits.size());
  SamplingBatch batch;
  batch.edits = edits.data();
  AdjustRow(batch, row, 0, absl::MakeSpan(logits));
  return logits;
}

// How far our logits may be from the golden ones. They are the same bits, except that the golden
// ones have the frequency penalty subtracted before the presence penalty: where both are in use,
// two differences are rounded here and two there, none of them larger than the sum below.
double LogitTolerance(const nlohmann::json& golden) {
  const double presence = std::fabs(golden.at("presence_penalty").get<double>());
  const double frequency = std::fabs(golden.at("frequency_penalty").get<double>());
  if (presence == 0 || frequency == 0) return 0;
  double most = 0;
  for (const float logit : Floats(golden.at("edited")))
    most = std::max<double>(most, std::fabs(logit));
  const auto answer_tokens = static_cast<double>(golden.at("answer").size());
  return 4 * kRounding * (most + presence + frequency * answer_tokens);
}

// The weights that are left of a row after all cuts, by token. Rows are so short that each run of
// KeptWeightOfRun is a token.
std::vector<uint64_t> KeptWeights(std::vector<float> logits, SamplingRow sampling) {
  const auto vocab = static_cast<int64_t>(logits.size());
  EXPECT_EQ(RunLength(vocab), 1);
  uint64_t maximum = MaximumOf(logits, 0);
  std::vector<SampleCut> cuts(kCutKinds);
  std::vector<uint64_t> typical_sums(kTypicalSums);
  std::vector<uint64_t> sums(kDigitValues);
  SamplingBatch batch;
  batch.num_logit_rows = 1;
  batch.sampling = &sampling;
  const Tensor tensor = {logits.data(), DType::kF32, 1, vocab};
  const SampleShard shard = {.vocab = vocab,
                             .maxima = &maximum,
                             .cuts = cuts.data(),
                             .typical_sums = typical_sums.data(),
                             .sums = sums.data(),
                             .sums_of_ranks = sums.data()};
  const RowShard row = RowOf(batch, tensor, shard, 0);
  for (const CutKind kind : {CutKind::kTopK, CutKind::kTopP, CutKind::kTypical}) {
    if (!HasCut(row, kind)) continue;
    if (kind == CutKind::kTypical) AddTypicalSums(row, 0, vocab, typical_sums.data());
    for (int digit = 0; digit < kCutDigits; ++digit) {
      std::fill(sums.begin(), sums.end(), 0);
      AddCutSums(row, 0, vocab, kind, digit, sums.data());
      NarrowRow(batch, tensor, shard, 0, kind, digit);
    }
  }
  std::vector<uint64_t> weights(vocab);
  for (int64_t i = 0; i < vocab; ++i) weights[i] = KeptWeightOfRun(row, static_cast<int>(i));
  return weights;
}

TEST(LogitsProcessorsTest, BiasAndPenaltiesGiveTheSameLogits) {
  for (const nlohmann::json& golden : ReadCases()) {
    SCOPED_TRACE(golden.dump());
    const std::vector<float> adjusted = Adjusted(golden);
    const std::vector<float> expected = Floats(golden.at("edited"));
    ASSERT_EQ(adjusted.size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_NEAR(adjusted[i], expected[i], LogitTolerance(golden)) << "token " << i;
    }
  }
}

TEST(LogitsProcessorsTest, CutsKeepTheSameTokensWithTheSameProbabilities) {
  for (const nlohmann::json& golden : ReadCases()) {
    SCOPED_TRACE(golden.dump());
    const std::vector<uint64_t> weights = KeptWeights(Adjusted(golden), RowOfCase(golden));
    std::vector<int32_t> kept;
    for (size_t i = 0; i < weights.size(); ++i) {
      if (weights[i] > 0) kept.push_back(static_cast<int32_t>(i));
    }
    ASSERT_EQ(kept, golden.at("kept").get<std::vector<int32_t>>());
    const auto sum =
        static_cast<double>(std::accumulate(weights.begin(), weights.end(), uint64_t{0}));
    // A weight is off by a part of itself: 2^-35 (kernels/sampling/weight.h), and what its logit
    // and the highest one are off by. It is a whole number, so it is off by less than 1 too. The
    // same goes for each of the weights in the sum.
    const double part =
        0x1p-35 + 2 * LogitTolerance(golden) / golden.at("temperature").get<double>();
    for (size_t i = 0; i < kept.size(); ++i) {
      const double p = golden.at("probabilities")[i];
      const double tolerance = 2 * part * p + (1 + static_cast<double>(kept.size()) * p) / sum;
      ASSERT_NEAR(static_cast<double>(weights[kept[i]]) / sum, p, 1.01 * tolerance)
          << "token " << kept[i];
    }
  }
}

TEST(LogitsProcessorsTest, LogProbabilitiesAreThoseOfLogSoftmax) {
  for (const nlohmann::json& golden : ReadCases()) {
    const std::vector<float> logits = Floats(golden.at("logits"));
    for (size_t i = 0; i < golden.at("log_probs").size(); ++i) {
      const double expected = golden.at("log_probs")[i];
      // One rounding to float32; those of float64 are as good as nothing.
      EXPECT_NEAR(LogProb(logits, static_cast<int32_t>(i)), expected,
                  1.01 * kRounding * std::fabs(expected));
    }
  }
}

TEST(LogitsProcessorsTest, EveryParameterHasCasesInWhichItCuts) {
  std::map<std::string, int> cutting;
  for (const nlohmann::json& golden : ReadCases()) {
    const SamplingRow row = RowOfCase(golden);
    const bool cuts = golden.at("kept").size() < Floats(golden.at("logits")).size();
    cutting["top_k"] += cuts && row.top_k > 0;
    cutting["top_p"] += cuts && row.top_p < 1;
    cutting["min_p"] += cuts && row.min_p > 0;
    cutting["typical_p"] += cuts && row.typical_p < 1;
    cutting["edited"] += golden.at("edited") != golden.at("logits");
  }
  for (const auto& [name, count] : cutting) EXPECT_GE(count, 12) << name;
}

}  // namespace
}  // namespace phalanx::kernels
