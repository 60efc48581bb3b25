// Writes random rows of logits with everything that can be asked of their draw, and the tokens that
// AdjustRow and SampleToken give, for sampling_definition_test.py to find the same: one JSON object
// a line.
//
//   write_sample_cases COUNT SEED
#include <bit>
#include <cinttypes>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"
#include "kernels/sampling/adjust.h"
#include "kernels/sampling/sample.h"

namespace phalanx::kernels {
namespace {

// Floats as the digits of their bits, since decimal text would have to be read exactly.
std::string Bits(float value) { return absl::StrCat(std::bit_cast<uint32_t>(value)); }

template <typename T, size_t kSize>
T Pick(const T (&values)[kSize], std::mt19937_64& random) {
  return values[random() % kSize];
}

std::vector<float> RandomLogits(int size, std::mt19937_64& random) {
  std::normal_distribution<float> normal(0.0f, 2.5f);
  std::vector<float> logits(size);
  for (float& logit : logits) logit = normal(random);
  switch (random() % 12) {
    case 0:  // Ties.
      for (float& logit : logits) logit = std::trunc(logit);
      break;
    case 1:
      for (float& logit : logits) {
        if (random() % 3 == 0) logit = -std::numeric_limits<float>::infinity();
      }
      break;
    case 2:
      logits[random() % size] += 30.0f;
      break;
    case 3:
      if (random() % 8 == 0) logits[random() % size] = std::numeric_limits<float>::quiet_NaN();
      break;
    default:
      break;
  }
  return logits;
}

SamplingRow RandomRow(int size, std::mt19937_64& random) {
  constexpr float kTemperatures[] = {0.0f, 0.2f, 0.7f, 1.0f, 1.0f, 1.7f, 100.0f};
  constexpr float kTopPs[] = {1.0f, 1.0f, 1.0f, 0.95f, 0.6f, 0.1f, 1e-7f};
  constexpr float kMinPs[] = {0.0f, 0.0f, 0.0f, 0.02f, 0.3f, 1.0f};
  constexpr float kTypicalPs[] = {1.0f, 1.0f, 1.0f, 0.95f, 0.5f, 0.1f, 1e-7f};
  constexpr float kRepetition[] = {1.0f, 1.0f, 1.1f, 1.7f, 0.8f};
  constexpr float kPenalties[] = {0.0f, 0.0f, 0.5f, -0.7f, 2.0f, 0.1f};
  return {.temperature = Pick(kTemperatures, random),
          .top_k = random() % 2 == 0 ? 0 : static_cast<int32_t>(random() % (size + 3)),
          .top_p = Pick(kTopPs, random),
          .min_p = Pick(kMinPs, random),
          .typical_p = Pick(kTypicalPs, random),
          .repetition_penalty = Pick(kRepetition, random),
          .presence_penalty = Pick(kPenalties, random),
          .frequency_penalty = Pick(kPenalties, random),
          .forced = random() % 200 == 0 ? static_cast<int32_t>(random() % size) : kNotForced,
          .position = static_cast<int32_t>(random() % 200000),
          .seed = random()};
}

void WriteCase(std::mt19937_64& random) {
  const int size = 1 + static_cast<int>(random() % (random() % 20 == 0 ? 120 : 24));
  std::vector<float> logits = RandomLogits(size, random);
  SamplingRow row = RandomRow(size, random);
  std::vector<LogitEdit> edits;
  std::string edit_text;
  for (int32_t token = 0; token < size && random() % 3 != 0; ++token) {
    if (random() % 2 == 0) continue;
    const int count = static_cast<int>(random() % 3);
    edits.push_back(
        {.token = token,
         .count = count,
         .bias = random() % 4 == 0 ? static_cast<float>(random() % 41) * 0.25f - 5.0f : 0.0f,
         .seen = count > 0 || random() % 2 == 0});
    absl::StrAppend(&edit_text, edit_text.empty() ? "" : ",", "[", token, ",", count, ",",
                    Bits(edits.back().bias), ",", edits.back().seen, "]");
  }
  std::vector<uint32_t> mask;
  if (random() % 3 == 0) {
    for (int64_t w = 0; w < MaskWords(size); ++w) {
      mask.push_back(static_cast<uint32_t>(random()) | static_cast<uint32_t>(random()));
    }
    row.mask_begin = 0;
  }
  row.edits_end = static_cast<int32_t>(edits.size());
  const auto bits = [](std::string* out, float value) { out->append(Bits(value)); };
  const std::string logit_text = absl::StrJoin(logits, ",", bits);
  SamplingBatch batch;
  batch.edits = edits.data();
  batch.mask_words = mask.data();
  AdjustRow(batch, row, 0, absl::MakeSpan(logits));
  std::printf(
      "{\"logits\":[%s],\"edits\":[%s],\"mask\":[%s],\"temperature\":%s,\"top_k\":%d,"
      "\"top_p\":%s,\"min_p\":%s,\"typical_p\":%s,\"repetition_penalty\":%s,"
      "\"presence_penalty\":%s,\"frequency_penalty\":%s,\"forced\":%d,\"position\":%d,"
      "\"seed\":%" PRIu64 ",\"token\":%d}\n",
      logit_text.c_str(), edit_text.c_str(), absl::StrJoin(mask, ",").c_str(),
      Bits(row.temperature).c_str(), row.top_k, Bits(row.top_p).c_str(), Bits(row.min_p).c_str(),
      Bits(row.typical_p).c_str(), Bits(row.repetition_penalty).c_str(),
      Bits(row.presence_penalty).c_str(), Bits(row.frequency_penalty).c_str(), row.forced,
      row.position, row.seed, SampleToken(logits, row));
}

}  // namespace
}  // namespace phalanx::kernels

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: write_sample_cases COUNT SEED\n");
    return 1;
  }
  std::mt19937_64 random(std::strtoull(argv[2], nullptr, 10));
  for (int64_t i = std::strtoll(argv[1], nullptr, 10); i > 0; --i) {
    phalanx::kernels::WriteCase(random);
  }
  return 0;
}
