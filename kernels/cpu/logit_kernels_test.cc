// The logit kernels of all levels against the scalar definitions: every bit must be the same.
#include "kernels/sampling/logit_kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/cpu_facts.h"
#include "kernels/cpu/cpu_level.h"
#include "kernels/cpu/kernel_set.h"
#include "kernels/sampling/weight.h"

namespace phalanx::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// The levels whose logit kernels differ.
struct Level {
  CpuLevel level;
  const KernelSet* (*kernels)();
};
void PrintTo(const Level& level, std::ostream* to) { *to << CpuLevelName(level.level); }

int64_t Padded(size_t n) {
  return (static_cast<int64_t>(n) + kLogitLanes - 1) / kLogitLanes * kLogitLanes;
}

class LogitKernelsTest : public testing::TestWithParam<Level> {
 protected:
  void SetUp() override {
    const absl::Status status = CheckCpuLevel(GetParam().level, ReadCpuFacts());
    if (!status.ok()) GTEST_SKIP() << status.message();
    kernels_ = GetParam().kernels()->logits;
  }

  // Calls check(logits, max) for many rows of many lengths; no logit is NaN or above the maximum,
  // which is finite.
  template <typename Check>
  void ForManyRows(Check check) {
    std::mt19937 random(71);
    for (int i = 0; i < 12000 && !HasFatalFailure(); ++i) {
      std::vector<float> logits = Row(random() % (i % 4 == 0 ? kLogitBlock + 1 : 40), random);
      float max = logits.empty() ? 0.0f : *std::max_element(logits.begin(), logits.end());
      if (!std::isfinite(max)) max = 0.0f;
      // The maximum of a row may be in another part of it.
      if (random() % 4 == 0) max = std::max(max, max + std::abs(max) * 0.3f);
      check(logits, max);
    }
  }

  static std::vector<float> Row(size_t size, std::mt19937& random) {
    constexpr float kSpreads[] = {1e-40f, 1e-6f, 1.0f, 5.0f, 40.0f, 1e30f};
    const float spread = kSpreads[random() % 6];
    std::normal_distribution<float> normal(static_cast<float>(random() % 3) - 1.0f, 1.0f);
    std::vector<float> logits(size);
    for (float& logit : logits) {
      logit = normal(random) * spread;
      switch (random() % 64) {
        case 0:
          logit = -kInfinity;
          break;
        case 1:
          logit = random() % 2 == 0 ? 0.0f : -0.0f;
          break;
        case 2:
          logit = std::numeric_limits<float>::denorm_min() * static_cast<float>(random() % 9);
          break;
        case 3:  // Ties.
          logit = logits[random() % size];
          break;
        default:
          break;
      }
    }
    return logits;
  }

  void ExpectWeights(const Weights& weights, const std::vector<float>& logits) {
    std::vector<uint64_t> out(Padded(logits.size()));
    const auto n = static_cast<int64_t>(logits.size());
    const uint64_t sum = kernels_.weights(weights, logits.data(), n, out.data());
    uint64_t expected_sum = 0;
    for (int64_t i = 0; i < n; ++i) {
      const uint64_t expected = weights(logits[i]);
      ASSERT_EQ(out[i], expected) << logits[i] << " below " << weights.max() << " times "
                                  << weights.inverse_temperature();
      expected_sum += expected;
    }
    ASSERT_EQ(sum, expected_sum);
  }

  LogitKernels kernels_ = {};
};

TEST_P(LogitKernelsTest, WeightsHaveTheBitsOfTheDefinition) {
  constexpr float kTemperatures[] = {1e-45f, 0.01f, 0.3f, 1.0f, 1.7f, 100.0f, 1e30f, kInfinity};
  int i = 0;
  ForManyRows([&](const std::vector<float>& logits, float max) {
    ExpectWeights(Weights(max, kTemperatures[i++ % 8]), logits);
  });
}

// Every 1021st negative float, and those next to the border below which weights are 0.
TEST_P(LogitKernelsTest, WeightsHaveTheBitsOfTheDefinitionInTheWholeRange) {
  const Weights weights(0.0f, 1.0f);
  std::vector<float> logits;
  const auto flush = [&] {
    ExpectWeights(weights, logits);
    logits.clear();
  };
  for (uint32_t bits = 0x80000000; bits < 0xff800000 && !HasFatalFailure(); bits += 1021) {
    logits.push_back(std::bit_cast<float>(bits));
    if (logits.size() == kLogitBlock) flush();
  }
  for (uint32_t bits = std::bit_cast<uint32_t>(-30.59f); bits < std::bit_cast<uint32_t>(-30.61f);
       ++bits) {
    logits.push_back(std::bit_cast<float>(bits));
    if (logits.size() == kLogitBlock) flush();
  }
  flush();
}

TEST_P(LogitKernelsTest, SumsOfExponentialsHaveTheBitsOfTheDefinition) {
  ForManyRows([&](const std::vector<float>& logits, float max) {
    ExpSum sum = {.high = 5, .low = 6};
    ExpSum expected = sum;
    const auto n = static_cast<int64_t>(logits.size());
    kernels_.add_exponentials(logits.data(), n, max, &sum);
    ScalarLogitKernels().add_exponentials(logits.data(), n, max, &expected);
    ASSERT_EQ(sum.high, expected.high) << n;
    ASSERT_EQ(sum.low, expected.low) << n;
  });
}

TEST_P(LogitKernelsTest, ExponentialsHaveTheBitsOfTheDefinitionInTheWholeRange) {
  for (uint32_t bits = 0x80000000; bits < 0xff800000; bits += 1021) {
    const float logit = std::bit_cast<float>(bits);
    ExpSum sum;
    ExpSum expected;
    kernels_.add_exponentials(&logit, 1, 0.0f, &sum);
    ScalarLogitKernels().add_exponentials(&logit, 1, 0.0f, &expected);
    ASSERT_EQ(sum.high, expected.high) << logit;
    ASSERT_EQ(sum.low, expected.low) << logit;
  }
}

TEST_P(LogitKernelsTest, MakesTheKeysOfTheDefinition) {
  ForManyRows([&](const std::vector<float>& logits, float) {
    std::vector<uint32_t> keys(Padded(logits.size()));
    kernels_.keys(logits.data(), static_cast<int64_t>(logits.size()), keys.data());
    for (size_t i = 0; i < logits.size(); ++i) ASSERT_EQ(keys[i], RankKey(logits[i])) << logits[i];
  });
}

TEST_P(LogitKernelsTest, SelectsTheLogitsOfARangeOfKeysInOrder) {
  std::mt19937 random(72);
  ForManyRows([&](const std::vector<float>& logits, float) {
    const auto any_key = [&] {
      return logits.empty() || random() % 8 == 0 ? static_cast<uint32_t>(random())
                                                 : RankKey(logits[random() % logits.size()]);
    };
    const uint32_t key = any_key();
    const KeyRange ranges[] = {{}, {key, key}, {key, any_key()}, {0, key}, {key, ~uint32_t{0}}};
    for (const KeyRange& keys : ranges) {
      std::vector<float> out(Padded(logits.size()));
      std::vector<float> expected(out);
      const auto n = static_cast<int64_t>(logits.size());
      const int64_t count = kernels_.select(logits.data(), n, keys, out.data());
      ASSERT_EQ(count, ScalarLogitKernels().select(logits.data(), n, keys, expected.data()));
      for (int64_t i = 0; i < count; ++i) {
        ASSERT_EQ(std::bit_cast<uint32_t>(out[i]), std::bit_cast<uint32_t>(expected[i]));
      }
    }
  });
}

TEST_P(LogitKernelsTest, FindsTheHighestLogitAndWhetherThereIsANan) {
  std::mt19937 random(73);
  ForManyRows([&](std::vector<float> logits, float) {
    const bool broken = !logits.empty() && random() % 2 == 0;
    if (broken) logits[random() % logits.size()] = random() % 2 == 0 ? kNan : -kNan;
    if (!logits.empty() && random() % 16 == 0) logits[random() % logits.size()] = kInfinity;
    const auto n = static_cast<int64_t>(logits.size());
    bool expected_nan = false;
    for (const float logit : logits) expected_nan |= std::isnan(logit);
    const bool before = random() % 4 == 0;
    bool has_nan = before;
    bool ignored = false;
    ASSERT_EQ(kernels_.highest(logits.data(), n, &has_nan),
              ScalarLogitKernels().highest(logits.data(), n, &ignored));
    ASSERT_EQ(has_nan, before || expected_nan);
  });
}

INSTANTIATE_TEST_SUITE_P(
    AllLevels, LogitKernelsTest,
    testing::Values(Level{CpuLevel::kPortable, [] { return &PortableKernels(); }},
                    Level{CpuLevel::kAvx2, Avx2Kernels},
                    Level{CpuLevel::kAvx512Vnni, Avx512Kernels}),
    [](const auto& info) { return std::string(CpuLevelName(info.param.level)); });

}  // namespace
}  // namespace phalanx::kernels
