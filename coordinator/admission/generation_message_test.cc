#include "coordinator/admission/generation_message.h"

#include <set>
#include <string>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

TEST(SamplingMessageTest, WhatIsSetReplacesTheDefault) {
  const Sampling defaults = {.temperature = 0.5f, .top_k = 3, .top_p = 0.75f};
  v1::Sampling message;
  EXPECT_EQ(ReadSampling(message, defaults), defaults);
  message.set_temperature(0);
  message.set_top_k(0);
  const Sampling read = ReadSampling(message, defaults);
  EXPECT_EQ(read, (Sampling{.temperature = 0, .top_k = 0, .top_p = 0.75f}));
}

TEST(SamplingMessageTest, WhatIsWrittenIsRead) {
  const Sampling sampling = {.temperature = 0.5f, .top_k = 3, .top_p = 0.75f};
  v1::Sampling message;
  WriteSampling(sampling, &message);
  EXPECT_EQ(message.temperature(), 0.5f);
  EXPECT_EQ(message.top_k(), 3);
  EXPECT_EQ(message.top_p(), 0.75f);
  EXPECT_FALSE(message.has_seed());
  EXPECT_EQ(ReadSampling(message, Sampling()), sampling);
}

// A field of the API without a parameter would be ignored.
TEST(SamplingMessageTest, TheMessageHasTheParametersAndTheSeed) {
  std::set<std::string> names = {"seed"};
  Sampling sampling;
  VisitSampling(sampling, [&](const SamplingParameter& parameter, auto) {
    names.insert(std::string(parameter.name));
  });
  std::set<std::string> fields;
  for (int i = 0; i < v1::Sampling::descriptor()->field_count(); ++i) {
    fields.insert(v1::Sampling::descriptor()->field(i)->name());
  }
  EXPECT_EQ(fields, names);
}

}  // namespace
}  // namespace phalanx
