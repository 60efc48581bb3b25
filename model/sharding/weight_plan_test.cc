#include "model/sharding/weight_plan.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/testing/tiny_hf_model.h"
#include "model/testing/tiny_model.h"

namespace phalanx {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::ResultOf;

std::unique_ptr<Checkpoint> OpenOrDie(const std::string& path) {
  auto checkpoint = Checkpoint::Open(path);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  return *std::move(checkpoint);
}

auto Says(const std::string& text) {
  return ResultOf([](const absl::Status& status) { return std::string(status.message()); },
                  HasSubstr(text));
}

TEST(WeightPlanTest, KeepsTheTypeUnlessABlockIsCut) {
  const auto checkpoint =
      OpenOrDie(WriteTinyModel("cut.gguf", {.num_q_heads = 4, .num_kv_heads = 4, .head_dim = 16}));
  const ModelSpec& spec = checkpoint->spec();
  const auto whole = PlanWeights(*checkpoint, spec, *ShardModel(spec, 0, 1));
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_EQ(whole->layers[0].attention_out.kept_type, TensorType::kQ4_1);
  EXPECT_EQ(whole->output.tensor, nullptr);

  const auto quarter = PlanWeights(*checkpoint, spec, *ShardModel(spec, 3, 4));
  ASSERT_TRUE(quarter.ok()) << quarter.status();
  const LayerPlan& layer = quarter->layers[1];
  EXPECT_EQ(layer.attention_out.kept_type, TensorType::kF32);
  EXPECT_EQ(layer.attention_out.cols.begin, 48);
  EXPECT_EQ(layer.attention_out.cols.end, 64);
  EXPECT_EQ(layer.qkv[0].kept_type, TensorType::kQ4_1);
  EXPECT_EQ(layer.qkv[0].first_row, 48);
  EXPECT_EQ(layer.qkv[0].num_rows, 16);
  EXPECT_TRUE(layer.qkv[1].rotary_heads);
  EXPECT_FALSE(layer.qkv[2].rotary_heads);
}

TEST(WeightPlanTest, FusedProjectionsAreSectionsOfOneTensor) {
  const auto checkpoint = OpenOrDie(WriteTinyHfModel("phi3", {.architecture = "phi3"}));
  const ModelSpec& spec = checkpoint->spec();
  const auto plan = PlanWeights(*checkpoint, spec, *ShardModel(spec, 1, 2));
  ASSERT_TRUE(plan.ok()) << plan.status();
  const std::vector<TensorPart>& qkv = plan->layers[0].qkv;
  EXPECT_EQ(qkv[0].tensor, qkv[2].tensor);
  // 64 rows of q, 32 of k, 32 of v; the second rank has the second half of each.
  EXPECT_EQ(qkv[0].first_row, 32);
  EXPECT_EQ(qkv[1].first_row, 64 + 16);
  EXPECT_EQ(qkv[2].first_row, 96 + 16);
}

TEST(WeightPlanTest, NormsAndBiasesAreOneRow) {
  const auto checkpoint = OpenOrDie(WriteTinyHfModel("qwen2", {.architecture = "qwen2"}));
  const ModelSpec& spec = checkpoint->spec();
  ASSERT_TRUE(spec.qkv_bias);
  const auto plan = PlanWeights(*checkpoint, spec, *ShardModel(spec, 1, 2));
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->final_norm.num_rows, 1);
  EXPECT_EQ(plan->final_norm.cols.size(), spec.hidden);
  const LayerPlan& layer = plan->layers[0];
  EXPECT_EQ(layer.attention_norm.num_rows, 1);
  EXPECT_EQ(layer.ffn_norm.num_rows, 1);
  ASSERT_EQ(layer.qkv_bias.size(), 3u);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(layer.qkv_bias[i].num_rows, 1);
    EXPECT_EQ(layer.qkv_bias[i].cols.begin, layer.qkv[i].first_row);
    EXPECT_EQ(layer.qkv_bias[i].cols.size(), layer.qkv[i].num_rows);
  }
}

TEST(WeightPlanTest, TellsEveryProblem) {
  GgufWriter writer = TinyModel({});
  writer.AddTensor("blk.0.attn_q.bias", TensorType::kF32, {192}, std::string(192 * 4, '\0'));
  const auto checkpoint = OpenOrDie(writer.WriteToTemp("problems.gguf"));
  ModelSpec spec = checkpoint->spec();
  const Shard shard = *ShardModel(spec, 0, 1);
  spec.vocab -= 1;
  spec.tied_embeddings = false;
  std::vector<absl::Status> problems;
  const auto plan = PlanWeights(*checkpoint, spec, shard, &problems);
  EXPECT_EQ(plan.status(), problems.at(0));
  EXPECT_THAT(problems,
              ElementsAre(Says("token_embd.weight: 272 rows of 96"), Says("output.weight: missing"),
                          Says("blk.0.attn_q.bias is not supported")));

  problems.clear();
  const auto good = OpenOrDie(WriteTinyModel("good.gguf"));
  EXPECT_TRUE(PlanWeights(*good, good->spec(), shard, &problems).ok());
  EXPECT_THAT(problems, IsEmpty());
}

}  // namespace
}  // namespace phalanx
