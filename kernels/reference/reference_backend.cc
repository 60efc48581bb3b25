#include "kernels/reference/reference_backend.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "kernels/check_tensors.h"
#include "kernels/dequantize.h"
#include "kernels/host_memory.h"
#include "kernels/linear_source.h"
#include "kernels/sampling/log_prob.h"
#include "kernels/sampling/sample.h"
#include "kernels/sampling/sharded_sample.h"

namespace phalanx::kernels {
namespace {

// float32, [out_features, in_features].
class ReferenceLinear : public PackedLinear {
 public:
  ReferenceLinear(LinearShape shape, std::unique_ptr<HostBuffer> weights)
      : shape_(shape), weights_(std::move(weights)) {}

  int64_t in_features() const override { return shape_.in_features; }
  int64_t out_features() const override { return shape_.out_features; }
  size_t bytes() const override { return weights_->bytes(); }

  float* row(int64_t i) const {
    return static_cast<float*>(weights_->data()) + i * shape_.in_features;
  }

 private:
  const LinearShape shape_;
  const std::unique_ptr<HostBuffer> weights_;
};

// float32, for each layer: keys [num_blocks, kKvBlockTokens, num_kv_heads, head_dim], then values
// of the same shape.
class ReferenceKvCache : public KvCache {
 public:
  ReferenceKvCache(const Shape& shape, std::unique_ptr<HostBuffer> arena)
      : shape_(shape), arena_(std::move(arena)) {}

  static size_t LayerElements(const Shape& shape) {
    return size_t{2} * shape.num_blocks * kKvBlockTokens * shape.num_kv_heads * shape.head_dim;
  }

  const Shape& shape() const override { return shape_; }
  size_t bytes() const override { return arena_->bytes(); }

  float* Key(int layer, int block, int slot, int kv_head) const {
    const size_t token = size_t{static_cast<uint32_t>(block)} * kKvBlockTokens + slot;
    return static_cast<float*>(arena_->data()) + layer * LayerElements(shape_) +
           (token * shape_.num_kv_heads + kv_head) * shape_.head_dim;
  }
  float* Value(int layer, int block, int slot, int kv_head) const {
    return Key(layer, block, slot, kv_head) + LayerElements(shape_) / 2;
  }

 private:
  const Shape shape_;
  const std::unique_ptr<HostBuffer> arena_;
};

// In double, like all sums here: its rounding is far below that of the float32 results that other
// backends are compared in, whatever the order of their sums.
double Dot(const float* a, const float* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

// The block that holds the token at `position` of the sequence of token `t`.
int BlockOf(const StepBatch& batch, int t, int position) {
  return BlockTable(batch, t)[position / kKvBlockTokens];
}

// Turns one head by the angles of its token.
void RotateHead(const float* cos_sin, int64_t rotary_dim, float* head) {
  const int64_t half = rotary_dim / 2;
  for (int64_t j = 0; j < half; ++j) {
    const double cosine = cos_sin[j];
    const double sine = cos_sin[half + j];
    const double a = head[j];
    const double b = head[half + j];
    head[j] = static_cast<float>(a * cosine - b * sine);
    head[half + j] = static_cast<float>(b * cosine + a * sine);
  }
}

class ReferenceBackend : public Backend {
 public:
  std::string Describe() const override { return "reference, 1 thread"; }
  DType activation_dtype() const override { return DType::kF32; }

  std::unique_ptr<Stream> NewStream() override { return std::make_unique<HostStream>(); }

  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(size_t bytes) override {
    return HostBuffer::Create(bytes);
  }

  absl::StatusOr<std::unique_ptr<PackedLinear>> PackLinear(
      absl::Span<const LinearSource> sources) override {
    absl::StatusOr<LinearShape> shape = CheckLinearSources(sources);
    if (!shape.ok()) return shape.status();
    absl::StatusOr<std::unique_ptr<HostBuffer>> weights =
        HostBuffer::Create(shape->in_features * shape->out_features * sizeof(float));
    if (!weights.ok()) return weights.status();
    auto linear = std::make_unique<ReferenceLinear>(*shape, *std::move(weights));
    int64_t out = 0;
    for (const LinearSource& source : sources) {
      for (const std::byte* row : source.rows) {
        Dequantize(source.dtype, row, source.in_features, linear->row(out++));
      }
    }
    return linear;
  }

  absl::StatusOr<std::unique_ptr<KvCache>> AllocateKvCache(const KvCache::Shape& shape) override {
    absl::StatusOr<std::unique_ptr<HostBuffer>> arena = HostBuffer::Create(
        shape.num_layers * ReferenceKvCache::LayerElements(shape) * sizeof(float));
    if (!arena.ok()) return arena.status();
    return std::make_unique<ReferenceKvCache>(shape, *std::move(arena));
  }

  void CopyToBackend(Stream& stream, void* to, const void* from, size_t bytes) override {
    std::memcpy(to, from, bytes);
  }
  void CopyToHost(Stream& stream, void* to, const void* from, size_t bytes) override {
    std::memcpy(to, from, bytes);
  }

  void UpdateBlockTables(Stream& stream, const StepBatch& batch) override {
    ApplyTableEntries(batch);
  }

  void Embed(Stream& stream, const StepBatch& batch, const PackedLinear& table, int64_t first_row,
             Tensor out) override {
    CheckTensors(Op::kEmbed, {out});
    const auto& weights = static_cast<const ReferenceLinear&>(table);
    for (int t = 0; t < batch.num_tokens; ++t) {
      const int64_t row = TokenId(batch, t) - first_row;
      float* to = out.f32() + t * out.cols;
      if (row >= 0 && row < table.out_features()) {
        std::copy_n(weights.row(row), out.cols, to);
      } else {
        std::fill_n(to, out.cols, 0.0f);
      }
    }
  }

  void RmsNorm(Stream& stream, Tensor x, Tensor weight, float eps, Tensor out) override {
    CheckTensors(Op::kRmsNorm, {x, weight, out});
    for (int64_t i = 0; i < x.rows; ++i) {
      const float* from = x.f32() + i * x.cols;
      float* to = out.f32() + i * x.cols;
      const double mean = Dot(from, from, x.cols) / static_cast<double>(x.cols);
      const double scale = 1.0 / std::sqrt(mean + eps);
      for (int64_t j = 0; j < x.cols; ++j) {
        to[j] = static_cast<float>(from[j] * scale * weight.f32()[j]);
      }
    }
  }

  void AddRmsNorm(Stream& stream, Tensor residual, Tensor delta, Tensor weight, float eps,
                  Tensor out) override {
    CheckTensors(Op::kAddRmsNorm, {residual, delta, weight, out});
    for (int64_t i = 0; i < residual.rows * residual.cols; ++i) {
      residual.f32()[i] += delta.f32()[i];
    }
    // `out` may be `delta`, which is no longer needed.
    RmsNorm(stream, residual, weight, eps, out);
  }

  void Linear(Stream& stream, Tensor x, const PackedLinear& w, Tensor bias, Tensor out) override {
    CheckTensors(Op::kLinear, {x, bias, out});
    const auto& weights = static_cast<const ReferenceLinear&>(w);
    for (int64_t i = 0; i < x.rows; ++i) {
      for (int64_t o = 0; o < w.out_features(); ++o) {
        double sum = Dot(x.f32() + i * x.cols, weights.row(o), x.cols);
        if (bias.data != nullptr) sum += bias.f32()[o];
        out.f32()[i * w.out_features() + o] = static_cast<float>(sum);
      }
    }
  }

  void RopeAngles(Stream& stream, const StepBatch& batch, Tensor inv_freq, float factor,
                  Tensor cos_sin) override {
    CheckTensors(Op::kRopeAngles, {inv_freq, cos_sin});
    const int64_t half = inv_freq.cols;
    for (int t = 0; t < batch.num_tokens; ++t) {
      const float* list = inv_freq.f32() + batch.rope_lists[batch.seq_of_token[t]] * half;
      float* to = cos_sin.f32() + t * 2 * half;
      for (int64_t j = 0; j < half; ++j) {
        // The angle is float32 by contract; only its cosine and sine are taken in double.
        const float angle = static_cast<float>(batch.positions[t]) * list[j];
        to[j] = static_cast<float>(std::cos(static_cast<double>(angle)) * factor);
        to[half + j] = static_cast<float>(std::sin(static_cast<double>(angle)) * factor);
      }
    }
  }

  void RopeAndWriteKv(Stream& stream, const StepBatch& batch, Tensor cos_sin, int local_q_heads,
                      Tensor qkv, KvCache& cache, int layer) override {
    CheckTensors(Op::kRopeAndWriteKv, {cos_sin, qkv});
    const auto& kv = static_cast<const ReferenceKvCache&>(cache);
    const int head_dim = cache.shape().head_dim;
    const int kv_heads = cache.shape().num_kv_heads;
    for (int t = 0; t < batch.num_tokens; ++t) {
      float* heads = qkv.f32() + t * qkv.cols;
      for (int h = 0; h < local_q_heads + kv_heads; ++h) {
        RotateHead(cos_sin.f32() + t * cos_sin.cols, cos_sin.cols, heads + h * head_dim);
      }
      // The value follows the key in a row of qkv, kv_heads heads further on, and is not rotated.
      const int position = batch.positions[t];
      const int block = BlockOf(batch, t, position);
      const int slot = position % kKvBlockTokens;
      for (int g = 0; g < kv_heads; ++g) {
        const float* key = heads + (local_q_heads + g) * head_dim;
        std::copy_n(key, head_dim, kv.Key(layer, block, slot, g));
        std::copy_n(key + kv_heads * head_dim, head_dim, kv.Value(layer, block, slot, g));
      }
    }
  }

  void PagedAttention(Stream& stream, const StepBatch& batch, Tensor qkv, int local_q_heads,
                      float scale, const KvCache& cache, int layer, Tensor out) override {
    CheckTensors(Op::kPagedAttention, {qkv, out});
    const auto& kv = static_cast<const ReferenceKvCache&>(cache);
    const int head_dim = cache.shape().head_dim;
    const int group = local_q_heads / cache.shape().num_kv_heads;
    for (int t = 0; t < batch.num_tokens; ++t) {
      for (int h = 0; h < local_q_heads; ++h) {
        Attend(batch, t, qkv.f32() + t * qkv.cols + h * head_dim, scale, kv, layer, h / group,
               out.f32() + t * out.cols + h * head_dim);
      }
    }
  }

  void SiluMul(Stream& stream, Tensor gate_up, Tensor out) override {
    CheckTensors(Op::kSiluMul, {gate_up, out});
    for (int64_t i = 0; i < out.rows; ++i) {
      for (int64_t j = 0; j < out.cols; ++j) {
        const double gate = gate_up.f32()[i * gate_up.cols + j];
        const double up = gate_up.f32()[i * gate_up.cols + out.cols + j];
        out.f32()[i * out.cols + j] = static_cast<float>(gate / (1.0 + std::exp(-gate)) * up);
      }
    }
  }

  void GatherRows(Stream& stream, const int32_t* rows, Tensor x, Tensor out) override {
    CheckTensors(Op::kGatherRows, {x, out});
    for (int64_t i = 0; i < out.rows; ++i) {
      std::copy_n(x.f32() + rows[i] * x.cols, x.cols, out.f32() + i * x.cols);
    }
  }

  void Sample(Stream& stream, const SamplingBatch& batch, Tensor logits, int32_t* tokens) override {
    CheckTensors(Op::kSample, {logits});
    for (int i = 0; i < batch.num_logit_rows; ++i) {
      tokens[i] = SampleToken(Row(logits, i), batch.sampling[i]);
    }
  }

  void StoreLastTokens(Stream& stream, const SamplingBatch& batch, const int32_t* tokens,
                       int32_t* last_tokens) override {
    SetLastTokens(batch, tokens, last_tokens);
  }

  void TokenLogProbs(Stream& stream, Tensor logits, const int32_t* targets,
                     float* log_probs) override {
    CheckTensors(Op::kTokenLogProbs, {logits});
    for (int64_t i = 0; i < logits.rows; ++i) {
      log_probs[i] = LogProb(Row(logits, i), targets[i]);
    }
  }

  void RowMaxima(Stream& stream, Tensor logits, int64_t first_id, uint64_t* maxima) override {
    CheckTensors(Op::kRowMaxima, {logits});
    for (int64_t i = 0; i < logits.rows; ++i) maxima[i] = MaximumOf(Row(logits, i), first_id);
  }

  void CutSums(Stream& stream, const SamplingBatch& batch, Tensor logits, const SampleShard& shard,
               CutKind kind, int digit) override {
    CheckTensors(Op::kCutSums, {logits});
    for (int i = 0; i < batch.num_logit_rows; ++i) {
      uint64_t* const sums = shard.sums + i * kDigitValues;
      std::fill_n(sums, kDigitValues, 0);
      const RowShard row = RowOf(batch, logits, shard, i);
      if (!HasCut(row, kind)) continue;
      AddCutSums(row, 0, logits.cols, kind, digit, sums);
    }
  }

  void NarrowCut(Stream& stream, const SamplingBatch& batch, Tensor logits,
                 const SampleShard& shard, CutKind kind, int digit) override {
    CheckTensors(Op::kNarrowCut, {logits});
    for (int i = 0; i < batch.num_logit_rows; ++i) NarrowRow(batch, logits, shard, i, kind, digit);
  }

  void KeptWeights(Stream& stream, const SamplingBatch& batch, Tensor logits,
                   const SampleShard& shard) override {
    CheckTensors(Op::kKeptWeights, {logits});
    for (int i = 0; i < batch.num_logit_rows; ++i) {
      const RowShard row = RowOf(batch, logits, shard, i);
      shard.kept[i] = 0;
      for (int run = 0; run < kDigitValues; ++run) {
        const uint64_t weight = KeptWeightOfRun(row, run);
        shard.sums[i * kDigitValues + run] = weight;
        shard.kept[i] += weight;
      }
    }
  }

  void DrawTokens(Stream& stream, const SamplingBatch& batch, Tensor logits,
                  const SampleShard& shard) override {
    CheckTensors(Op::kDrawTokens, {logits});
    for (int i = 0; i < batch.num_logit_rows; ++i) DrawRow(batch, logits, shard, i);
  }

  void TakeTokens(Stream& stream, int64_t rows, const uint64_t* drawn, int32_t* tokens) override {
    for (int64_t i = 0; i < rows; ++i) tokens[i] = static_cast<int32_t>(drawn[i]) - 1;
  }
  void LogProbTerms(Stream& stream, Tensor logits, int64_t first_id, const int32_t* targets,
                    const uint64_t* maxima, uint64_t* terms) override {
    CheckTensors(Op::kLogProbTerms, {logits});
    for (int64_t i = 0; i < logits.rows; ++i) {
      const auto of_row = LogProbTermsOf(Row(logits, i), first_id, targets[i], maxima[i]);
      std::copy(of_row.begin(), of_row.end(), terms + i * kLogProbTerms);
    }
  }

  void CombineLogProbs(Stream& stream, int64_t rows, const uint64_t* maxima, const uint64_t* terms,
                       float* log_probs) override {
    for (int64_t i = 0; i < rows; ++i) {
      log_probs[i] = CombinedLogProb(maxima[i], terms + i * kLogProbTerms);
    }
  }

 private:
  static absl::Span<const float> Row(Tensor x, int64_t i) {
    return {x.f32() + i * x.cols, static_cast<size_t>(x.cols)};
  }

  // Attention of one query head of token `t`, by the textbook: all scores, then weights relative to
  // the largest one, so that no exponential overflows.
  static void Attend(const StepBatch& batch, int t, const float* query, float scale,
                     const ReferenceKvCache& kv, int layer, int kv_head, float* out) {
    const int head_dim = kv.shape().head_dim;
    const int num_keys = batch.positions[t] + 1;
    double max = -std::numeric_limits<double>::infinity();
    std::vector<double> scores(num_keys);
    for (int s = 0; s < num_keys; ++s) {
      const float* key = kv.Key(layer, BlockOf(batch, t, s), s % kKvBlockTokens, kv_head);
      scores[s] = scale * Dot(query, key, head_dim);
      max = std::max(max, scores[s]);
    }
    double sum = 0;
    std::vector<double> mix(head_dim, 0.0);
    for (int s = 0; s < num_keys; ++s) {
      const float* value = kv.Value(layer, BlockOf(batch, t, s), s % kKvBlockTokens, kv_head);
      const double p = std::exp(scores[s] - max);
      sum += p;
      for (int d = 0; d < head_dim; ++d) mix[d] += p * value[d];
    }
    for (int d = 0; d < head_dim; ++d) out[d] = static_cast<float>(mix[d] / sum);
  }
};

}  // namespace

std::unique_ptr<Backend> MakeReferenceBackend() { return std::make_unique<ReferenceBackend>(); }

}  // namespace phalanx::kernels
