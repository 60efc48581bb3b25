#include "tests/golden/tiny_models.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "kernels/dequantize.h"
#include "model/files/safetensors.h"
#include "model/spec/long_rope.h"
#include "nlohmann/json.hpp"
#include "worker/step/testing/step_builder.h"

namespace phalanx {
namespace {

const nlohmann::json& Golden() {
  static const nlohmann::json golden = [] {
    std::ifstream file(std::getenv("MODELS_JSON"));
    return nlohmann::json::parse(file);
  }();
  return golden;
}

std::string PathOf(const std::string& name) {
  const std::string index = std::getenv("MODELS_JSON");
  return absl::StrCat(index.substr(0, index.rfind('/')), "/", name);
}

Logits ReadLogits(const TensorView& tensor) {
  const auto dtype = tensor.type == TensorType::kF32 ? kernels::DType::kF32 : kernels::DType::kBF16;
  Logits rows(tensor.rows, std::vector<float>(tensor.cols));
  for (int64_t i = 0; i < tensor.rows; ++i) {
    kernels::Dequantize(dtype, tensor.data.data() + i * kernels::RowBytes(dtype, tensor.cols),
                        tensor.cols, rows[i].data());
  }
  return rows;
}

}  // namespace

GoldenModel::GoldenModel(const std::string& name)
    : path(PathOf(name)), is_bf16(Golden()["models"][name]["dtype"] == "bfloat16") {
  const nlohmann::json& model = Golden()["models"][name];
  prompts = model["prompts"];
  for (const nlohmann::json& answer : model["answers"]) {
    continuations.push_back(answer["token_ids"]);
    smallest_margin = std::min<double>(smallest_margin, answer["smallest_margin"]);
  }
  auto file = SafetensorsFile::Open(path + ".logits.safetensors");
  EXPECT_TRUE(file.ok()) << file.status();
  for (const TensorView& tensor : (*file)->tensors()) logits[tensor.name] = ReadLogits(tensor);
}

std::vector<std::string> GoldenModelNames() {
  std::vector<std::string> names;
  for (const auto& [name, model] : Golden()["models"].items()) names.push_back(name);
  return names;
}

Logits Forward(RankGroup& group, const std::vector<int32_t>& prompt) {
  const RopeSpec& rope = group.spec().rope;
  const int tokens = static_cast<int>(prompt.size());
  const int border = rope.num_lists() == 1 ? 0 : rope.original_context_tokens;
  TestSequence sequence{.tokens = prompt,
                        .rope_list = PlanRope(LongRopePolicy::kReference, border, tokens, 0).list};
  for (int i = 0; i < kTinyModelLimits.max_blocks_per_seq; ++i) {
    sequence.blocks.push_back(1 + 7 * i);
  }
  StepBuilder builder;
  builder.Add(sequence, sequence.pending_tokens());
  builder.WantAllLogits();
  const auto result = group.Run(builder.Finish());
  EXPECT_TRUE(result.ok()) << result.status();
  Logits logits;
  for (int row = 0; row < tokens; ++row) logits.push_back(group.Logits(row));
  return logits;
}

double LargestError(const Logits& ours, const Logits& golden) {
  EXPECT_EQ(ours.size(), golden.size());
  double largest = 0;
  for (size_t i = 0; i < ours.size(); ++i) {
    double error = 0;
    double scale = 0;
    for (size_t token = 0; token < golden[i].size(); ++token) {
      error = std::max<double>(error, std::abs(ours[i][token] - golden[i][token]));
      scale = std::max<double>(scale, std::abs(golden[i][token]));
    }
    largest = std::max(largest, error / scale);
  }
  return largest;
}

}  // namespace phalanx
