#include "model/generation/sampling.h"

#include <cmath>
#include <limits>
#include <string>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(SamplingTest, DefaultsAndBordersAreInRange) {
  EXPECT_TRUE(CheckSampling({}).ok());
  EXPECT_TRUE(CheckSampling({.temperature = 100.0f,
                             .top_k = std::numeric_limits<int32_t>::max(),
                             .top_p = std::numeric_limits<float>::denorm_min()})
                  .ok());
}

TEST(SamplingTest, WhatIsOutOfRangeIsNamedWithItsRange) {
  const struct {
    Sampling sampling;
    std::string message;
  } cases[] = {
      {{.temperature = 101}, "sampling.temperature: 101 is not in [0, 100]"},
      {{.temperature = -0.5f}, "sampling.temperature: -0.5 is not in [0, 100]"},
      {{.temperature = NAN}, "sampling.temperature: nan is not in [0, 100]"},
      {{.temperature = kInfinity}, "sampling.temperature: inf is not in [0, 100]"},
      {{.top_k = -1}, "sampling.top_k: -1 is not in [0, 2147483647]"},
      {{.top_p = 0}, "sampling.top_p: 0 is not in (0, 1]"},
      {{.top_p = 1.0000001f}, "sampling.top_p: 1.0000001 is not in (0, 1]"},
      {{.top_p = NAN}, "sampling.top_p: nan is not in (0, 1]"},
      // The first error is returned.
      {{.top_k = -1, .top_p = 2}, "sampling.top_k: -1 is not in [0, 2147483647]"},
  };
  for (const auto& [sampling, message] : cases) {
    const absl::Status status = CheckSampling(sampling, "sampling.");
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(status.message(), message);
  }
}

TEST(SamplingTest, OnlyNumbersOfTheRangeAndTypeAreTaken) {
  Sampling sampling;
  EXPECT_TRUE(SetIfAllowed(kTemperature, 0.75, &sampling.temperature));
  EXPECT_TRUE(SetIfAllowed(kTopK, 40, &sampling.top_k));
  EXPECT_TRUE(SetIfAllowed(kTopP, 0.5, &sampling.top_p));
  const Sampling set = {.temperature = 0.75f, .top_k = 40, .top_p = 0.5f};
  EXPECT_EQ(sampling, set);
  EXPECT_FALSE(SetIfAllowed(kTemperature, 100.5, &sampling.temperature));
  EXPECT_FALSE(SetIfAllowed(kTemperature, NAN, &sampling.temperature));
  EXPECT_FALSE(SetIfAllowed(kTopK, 1.5, &sampling.top_k));
  EXPECT_FALSE(SetIfAllowed(kTopK, 4294967296.0, &sampling.top_k));
  EXPECT_FALSE(SetIfAllowed(kTopP, 0, &sampling.top_p));
  // 0 as a float.
  EXPECT_FALSE(SetIfAllowed(kTopP, 1e-60, &sampling.top_p));
  EXPECT_EQ(sampling, set);
}

// The structure has no member that the list leaves out.
TEST(SamplingTest, EveryParameterIsVisited) {
  Sampling sampling;
  size_t bytes = 0;
  VisitSampling(sampling, [&](const SamplingParameter&, auto& value) { bytes += sizeof(value); });
  EXPECT_EQ(bytes, sizeof(Sampling));
}

}  // namespace
}  // namespace phalanx
