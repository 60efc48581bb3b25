#include "worker/weights/decoder_weights.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/dequantize.h"
#include "kernels/reference/reference_backend.h"
#include "model/testing/tiny_model.h"
#include "worker/weights/weight_bytes.h"

namespace phalanx {
namespace {

using kernels::DType;
using testing::AllOf;
using testing::HasSubstr;

// [rows][cols]
using Matrix = std::vector<std::vector<float>>;

Matrix Rows(const Matrix& matrix, Range rows) {
  return {matrix.begin() + rows.begin, matrix.begin() + rows.end};
}

Matrix Columns(const Matrix& matrix, Range cols) {
  Matrix part;
  for (const auto& row : matrix) {
    part.emplace_back(row.begin() + cols.begin, row.begin() + cols.end);
  }
  return part;
}

Matrix Stack(std::initializer_list<Matrix> parts) {
  Matrix all;
  for (const Matrix& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

class DecoderWeightsTest : public testing::Test {
 protected:
  void Open(const TinyModelOptions& options) { Open(WriteTinyModel("tiny.gguf", options)); }
  void Open(const std::string& path) {
    auto checkpoint = Checkpoint::Open(path);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    checkpoint_ = *std::move(checkpoint);
    spec_ = checkpoint_->spec();
  }

  absl::StatusOr<DecoderWeights> Load(int rank, int world) {
    const auto shard = ShardModel(spec_, rank, world);
    if (!shard.ok()) return shard.status();
    return LoadDecoderWeights(*checkpoint_, spec_, *shard, *backend_);
  }

  // The tensor as it is in the file.
  Matrix FromFile(const std::string& name) {
    const TensorView* tensor = checkpoint_->FindTensor(name);
    EXPECT_NE(tensor, nullptr) << name;
    const DType dtype = tensor->type == TensorType::kF32    ? DType::kF32
                        : tensor->type == TensorType::kQ4_1 ? DType::kQ4_1
                                                            : DType::kQ8_0;
    const size_t row_bytes = kernels::RowBytes(dtype, tensor->cols);
    Matrix matrix(tensor->rows, std::vector<float>(tensor->cols));
    for (int64_t row = 0; row < tensor->rows; ++row) {
      kernels::Dequantize(dtype, tensor->data.data() + row * row_bytes, tensor->cols,
                          matrix[row].data());
    }
    return matrix;
  }

  // Rows of rotary heads in half-split order: dims 0, 2, 4, ... of each head, then 1, 3, 5, ...
  Matrix HalfSplit(const Matrix& interleaved) {
    Matrix matrix;
    for (size_t head = 0; head < interleaved.size(); head += spec_.head_dim) {
      for (const int parity : {0, 1}) {
        for (int dim = parity; dim < spec_.head_dim; dim += 2) {
          matrix.push_back(interleaved[head + dim]);
        }
      }
    }
    return matrix;
  }

  // What the backend has packed: its products with unit vectors.
  Matrix Unpack(const kernels::PackedLinear& packed) {
    return OutputsForUnitVectors(packed.in_features(), packed.out_features(),
                                 [&](kernels::Tensor x, kernels::Tensor out) {
                                   backend_->Linear(*stream_, x, packed, {}, out);
                                 });
  }
  Matrix OutputsForUnitVectors(const kernels::PackedGatedLinear& packed) {
    return OutputsForUnitVectors(packed.in_features(), packed.out_features(),
                                 [&](kernels::Tensor x, kernels::Tensor out) {
                                   backend_->GatedLinear(*stream_, x, packed, out);
                                 });
  }
  Matrix OutputsForUnitVectors(
      int64_t in, int64_t out,
      const std::function<void(kernels::Tensor x, kernels::Tensor out)>& op) {
    const auto unit_memory = *backend_->Allocate(in * in * sizeof(float));
    const auto product_memory = *backend_->Allocate(in * out * sizeof(float));
    const kernels::Tensor unit = {unit_memory->data(), DType::kF32, in, in};
    const kernels::Tensor product = {product_memory->data(), DType::kF32, in, out};
    for (int64_t i = 0; i < in; ++i) unit.f32()[i * in + i] = 1.0f;
    op(unit, product);
    Matrix matrix(out, std::vector<float>(in));
    for (int64_t i = 0; i < in; ++i) {
      for (int64_t o = 0; o < out; ++o) matrix[o][i] = product.f32()[i * out + o];
    }
    return matrix;
  }

  // Packs matrices of this test.
  std::unique_ptr<kernels::PackedGatedLinear> Gated(const Matrix& gate, const Matrix& up) {
    std::vector<const std::byte*> rows[2];
    for (const auto& row : gate) rows[0].push_back(reinterpret_cast<const std::byte*>(row.data()));
    for (const auto& row : up) rows[1].push_back(reinterpret_cast<const std::byte*>(row.data()));
    const auto in_features = static_cast<int64_t>(gate[0].size());
    return *backend_->PackGatedLinear({DType::kF32, in_features, rows[0]},
                                      {DType::kF32, in_features, rows[1]});
  }

  void ExpectShard(int rank, int world) {
    SCOPED_TRACE(testing::Message() << "rank " << rank << " of " << world);
    const auto weights = Load(rank, world);
    ASSERT_TRUE(weights.ok()) << weights.status();
    const Shard shard = *ShardModel(spec_, rank, world);
    const auto dims = [&](Range heads) {
      return Range{heads.begin * spec_.head_dim, heads.end * spec_.head_dim};
    };
    EXPECT_EQ(Unpack(*weights->embedding), Rows(FromFile("token_embd.weight"), shard.vocab));
    ASSERT_EQ(weights->layers.size(), 2u);
    const LayerWeights& layer = weights->layers[1];
    EXPECT_EQ(Unpack(*layer.qkv),
              Stack({Rows(HalfSplit(FromFile("blk.1.attn_q.weight")), dims(shard.q_heads)),
                     Rows(HalfSplit(FromFile("blk.1.attn_k.weight")), dims(shard.kv_heads)),
                     Rows(FromFile("blk.1.attn_v.weight"), dims(shard.kv_heads))}));
    EXPECT_EQ(Unpack(*layer.attention_out),
              Columns(FromFile("blk.1.attn_output.weight"), dims(shard.q_heads)));
    EXPECT_EQ(OutputsForUnitVectors(*layer.gate_up),
              OutputsForUnitVectors(*Gated(Rows(FromFile("blk.1.ffn_gate.weight"), shard.ffn),
                                           Rows(FromFile("blk.1.ffn_up.weight"), shard.ffn))));
    EXPECT_EQ(Unpack(*layer.down), Columns(FromFile("blk.1.ffn_down.weight"), shard.ffn));
    const float* norm = static_cast<const float*>(layer.ffn_norm->data());
    EXPECT_EQ(std::vector<float>(norm, norm + spec_.hidden), FromFile("blk.1.ffn_norm.weight")[0]);
    EXPECT_GT(weights->bytes, 0u);
  }

  std::unique_ptr<Checkpoint> checkpoint_;
  ModelSpec spec_;
  const std::unique_ptr<kernels::Backend> backend_ = kernels::MakeReferenceBackend();
  const std::unique_ptr<kernels::Stream> stream_ = backend_->NewStream();
};

TEST_F(DecoderWeightsTest, EveryRankHoldsItsPartOfQuantizedMatrices) {
  Open(TinyModelOptions{});
  for (int world = 1; world <= 3; ++world) {
    for (int rank = 0; rank < world; ++rank) ExpectShard(rank, world);
  }
}

TEST_F(DecoderWeightsTest, FloatMatricesAreCutAtAnyColumn) {
  Open({.hidden = 40,
        .head_dim = 10,
        .matrix_type = TensorType::kF32,
        .embedding_type = TensorType::kF32});
  for (int rank = 0; rank < 3; ++rank) ExpectShard(rank, 3);
}

TEST_F(DecoderWeightsTest, TiedEmbeddingsServeAsOutput) {
  Open(TinyModelOptions{});
  const auto tied = Load(0, 1);
  ASSERT_TRUE(tied.ok()) << tied.status();
  EXPECT_EQ(&tied->logits(), tied->embedding.get());

  Open({.untied_output = true});
  const auto untied = Load(1, 2);
  ASSERT_TRUE(untied.ok()) << untied.status();
  EXPECT_EQ(Unpack(untied->logits()),
            Rows(FromFile("output.weight"), ShardModel(spec_, 1, 2)->vocab));
}

TEST_F(DecoderWeightsTest, ColumnsThatEndInsideABlockAreExactToo) {
  Open({.num_q_heads = 4, .num_kv_heads = 4, .head_dim = 16});
  for (int rank = 0; rank < 4; ++rank) ExpectShard(rank, 4);
}

TEST_F(DecoderWeightsTest, MissingTensorIsNamed) {
  Open(TinyModelOptions{});
  spec_.num_layers = 3;
  const absl::Status status = Load(0, 1).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("tiny.gguf"), HasSubstr("blk.2.attn_norm.weight: missing")));
}

TEST_F(DecoderWeightsTest, LoadingCanBeInterrupted) {
  Open(TinyModelOptions());
  const auto shard = ShardModel(spec_, 0, 1);
  ASSERT_TRUE(shard.ok()) << shard.status();
  int asked = 0;
  const auto weights =
      LoadDecoderWeights(*checkpoint_, spec_, *shard, *backend_, [&] { return ++asked == 3; });
  EXPECT_EQ(weights.status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(asked, 3);
}

TEST_F(DecoderWeightsTest, WrongShapeIsNamed) {
  Open(TinyModelOptions{});
  spec_.ffn = 192;
  const absl::Status status = Load(0, 1).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("blk.0.ffn_gate.weight"), HasSubstr("160 rows of 96"),
                    HasSubstr("192 of 96")));
}

TEST_F(DecoderWeightsTest, TypeThatCannotBeLoadedIsNamedWithThoseThatCan) {
  GgufWriter writer = TinyModel({});
  constexpr auto kI8 = static_cast<TensorType>(24);
  writer.AddTensor("output.weight", kI8, {96, kTinyVocab}, std::string(kTinyVocab * 96, '\0'));
  Open(writer.WriteToTemp("i8.gguf"));
  const absl::Status status = Load(0, 1).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("i8.gguf"), HasSubstr("output.weight"), HasSubstr("type 24"),
                    HasSubstr("F32, F16, BF16, Q4_0, Q4_1, Q5_0"), HasSubstr("IQ4_NL")));
}

TEST_F(DecoderWeightsTest, TensorThatTheNetworkDoesNotHaveIsRefused) {
  GgufWriter writer = TinyModel({});
  writer.AddTensor("blk.0.attn_q.bias", TensorType::kF32, {192}, std::string(192 * 4, '\0'));
  Open(writer.WriteToTemp("bias.gguf"));
  const absl::Status status = Load(0, 1).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), HasSubstr("blk.0.attn_q.bias"));
}

// Loads a file of floats in a form; its bytes on the CPU backend must be the planned ones.
class QuantizedWeightsTest : public DecoderWeightsTest {
 protected:
  DecoderWeights LoadAs(WeightForm form, const TinyModelOptions& options) {
    Open(options);
    const Shard shard = *ShardModel(spec_, 0, 1);
    const auto cpu = *kernels::MakeCpuBackend({});
    auto weights = LoadDecoderWeights(*checkpoint_, spec_, shard, *cpu, nullptr, form);
    EXPECT_TRUE(weights.ok()) << weights.status();
    WeightPlan plan = *PlanWeights(*checkpoint_, spec_, shard);
    QuantizePlan(form, &plan);
    EXPECT_EQ(weights->bytes, WeightBytes(plan, *cpu));
    return *std::move(weights);
  }

  const TinyModelOptions floats_ = {
      .matrix_type = TensorType::kF32, .embedding_type = TensorType::kF32, .untied_output = true};
};

TEST_F(QuantizedWeightsTest, FloatsTakeFewerBytesAndTheLossIsTold) {
  const DecoderWeights file = LoadAs(WeightForm::kFile, floats_);
  const DecoderWeights int8 = LoadAs(WeightForm::kInt8, floats_);
  const DecoderWeights int4 = LoadAs(WeightForm::kInt4, floats_);
  EXPECT_EQ(file.quantization_error, 0);
  // Half a level at most, evenly spread, of weights whose largest of 32 is about twice their size:
  // 2 / 127 / sqrt(12) and 2 / 8 / sqrt(12).
  EXPECT_GT(int8.quantization_error, 0.002);
  EXPECT_LT(int8.quantization_error, 0.01);
  EXPECT_GT(int4.quantization_error, 0.03);
  EXPECT_LT(int4.quantization_error, 0.16);
  EXPECT_LT(int8.bytes, file.bytes / 3);
  EXPECT_LT(int4.bytes, int8.bytes * 3 / 4);
}

TEST_F(QuantizedWeightsTest, WhatTheFileHasQuantizedStaysAsItIs) {
  TinyModelOptions options;
  const DecoderWeights file = LoadAs(WeightForm::kFile, options);
  const DecoderWeights int4 = LoadAs(WeightForm::kInt4, options);
  EXPECT_EQ(int4.bytes, file.bytes);
  EXPECT_EQ(int4.quantization_error, 0);
}

TEST_F(QuantizedWeightsTest, ColumnsThatAreNoWholeGroupsStayFloats) {
  TinyModelOptions options = floats_;
  options.hidden = 80;
  const DecoderWeights file = LoadAs(WeightForm::kFile, options);
  const DecoderWeights int8 = LoadAs(WeightForm::kInt8, options);
  // Only matrices whose columns are heads or those of the feed-forward are quantized.
  EXPECT_LT(int8.bytes, file.bytes);
  EXPECT_GT(int8.bytes, file.bytes / 2);
}

}  // namespace
}  // namespace phalanx
