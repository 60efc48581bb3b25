#include "kernels/reference/reference_backend.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/bfloat16.h"
#include "kernels/check_tensors.h"
#include "kernels/dequantize.h"
#include "kernels/host_memory.h"
#include "kernels/linear_source.h"
#include "kernels/reference/reference_memory.h"
#include "kernels/reference/reference_sampling.h"

namespace phalanx::kernels {
namespace {

// In double, like all sums here: its rounding is far below that of the float32 results that other
// backends are compared in, whatever the order of their sums.
double Dot(const float* a, const float* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

float Load(Tensor x, int64_t index) {
  if (x.dtype == DType::kF32) return x.f32()[index];
  return BFloat16ToFloat(static_cast<const uint16_t*>(x.data)[index]);
}

// Rounds to float32, and from there to the type of `x`.
void Store(Tensor x, int64_t index, double value) {
  const auto rounded = static_cast<float>(value);
  if (x.dtype == DType::kF32) {
    x.f32()[index] = rounded;
  } else {
    static_cast<uint16_t*>(x.data)[index] = FloatToBFloat16(rounded);
  }
}

// Elements [first, first + count) of the whole tensor.
std::vector<float> LoadMany(Tensor x, int64_t first, int64_t count) {
  std::vector<float> values(count);
  for (int64_t i = 0; i < count; ++i) values[i] = Load(x, first + i);
  return values;
}
void StoreMany(Tensor x, int64_t first, const std::vector<float>& values) {
  for (size_t i = 0; i < values.size(); ++i) {
    Store(x, first + static_cast<int64_t>(i), values[i]);
  }
}
std::vector<float> LoadRow(Tensor x, int64_t row) { return LoadMany(x, row * x.cols, x.cols); }

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

class ReferenceBackend final : public ReferenceSampling {
 public:
  explicit ReferenceBackend(const ReferenceTypes& types) : types_(types) {}

  std::string Describe() const override {
    return absl::StrCat("reference, ", DTypeName(types_.activations), " activations, ",
                        DTypeName(types_.residual), " residual, 1 thread");
  }
  std::string Arithmetic() const override {
    return absl::StrCat("reference ", DTypeName(types_.activations), " ",
                        DTypeName(types_.residual));
  }
  Determinism determinism() const override { return Determinism::kStrict; }
  DType activation_dtype() const override { return types_.activations; }
  DType residual_dtype() const override { return types_.residual; }
  KvDType kv_cache_dtype() const override { return types_.kv_cache; }

  std::unique_ptr<Stream> NewStream() override { return std::make_unique<HostStream>(); }

  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(size_t bytes) override {
    return HostBuffer::Create(bytes);
  }
  absl::StatusOr<std::unique_ptr<Buffer>> AllocateOnHost(size_t bytes) override {
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

  absl::StatusOr<std::unique_ptr<PackedGatedLinear>> PackGatedLinear(
      const LinearSource& gate, const LinearSource& up) override {
    absl::StatusOr<LinearShape> shape = CheckGatedSources(gate, up);
    if (!shape.ok()) return shape.status();
    absl::StatusOr<std::unique_ptr<PackedLinear>> packed_gate = PackLinear({gate});
    if (!packed_gate.ok()) return packed_gate.status();
    absl::StatusOr<std::unique_ptr<PackedLinear>> packed_up = PackLinear({up});
    if (!packed_up.ok()) return packed_up.status();
    return std::make_unique<ReferenceGatedLinear>(*std::move(packed_gate), *std::move(packed_up));
  }

  size_t LinearBytes(absl::Span<const LinearSize> sources) const override {
    size_t elements = 0;
    for (const LinearSize& source : sources) elements += source.in_features * source.out_features;
    return elements * sizeof(float);
  }
  size_t GatedLinearBytes(const LinearSize& gate, const LinearSize& up) const override {
    return LinearBytes({gate}) + LinearBytes({up});
  }
  size_t KvCacheBytes(const KvCache::Shape& shape) const override {
    return shape.num_layers * ReferenceKvCache::LayerElements(shape) * sizeof(float);
  }
  // These ops take what memory they need from the heap.
  size_t WorkspaceBytes(const WorkspaceLimits& limits) const override { return 0; }
  absl::Status Reserve(const WorkspaceLimits& limits) override { return absl::OkStatus(); }

  absl::StatusOr<std::unique_ptr<KvCache>> AllocateKvCache(const KvCache::Shape& shape) override {
    absl::StatusOr<std::unique_ptr<HostBuffer>> arena = HostBuffer::Create(KvCacheBytes(shape));
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
      const bool has_row = row >= 0 && row < table.out_features();
      for (int64_t j = 0; j < out.cols; ++j) {
        Store(out, t * out.cols + j, has_row ? weights.row(row)[j] : 0.0f);
      }
    }
  }

  void RmsNorm(Stream& stream, Tensor x, Tensor weight, float eps, Tensor out) override {
    CheckTensors(Op::kRmsNorm, {x, weight, out});
    for (int64_t i = 0; i < x.rows; ++i) {
      const std::vector<float> from = LoadRow(x, i);
      const double mean = Dot(from.data(), from.data(), x.cols) / static_cast<double>(x.cols);
      const double scale = 1.0 / std::sqrt(mean + eps);
      for (int64_t j = 0; j < x.cols; ++j) {
        Store(out, i * x.cols + j, from[j] * scale * weight.f32()[j]);
      }
    }
  }

  void AddRmsNorm(Stream& stream, Tensor residual, Tensor delta, Tensor weight, float eps,
                  Tensor out) override {
    CheckTensors(Op::kAddRmsNorm, {residual, delta, weight, out});
    for (int64_t i = 0; i < residual.rows * residual.cols; ++i) {
      Store(residual, i, Load(residual, i) + Load(delta, i));
    }
    // `out` may be `delta`, which is no longer needed.
    RmsNorm(stream, residual, weight, eps, out);
  }

  void Linear(Stream& stream, Tensor x, const PackedLinear& w, Tensor bias, Tensor out) override {
    CheckTensors(Op::kLinear, {x, bias, out});
    const auto& weights = static_cast<const ReferenceLinear&>(w);
    for (int64_t i = 0; i < x.rows; ++i) {
      const std::vector<float> row = LoadRow(x, i);
      for (int64_t o = 0; o < w.out_features(); ++o) {
        double sum = Dot(row.data(), weights.row(o), x.cols);
        if (bias.data != nullptr) sum += bias.f32()[o];
        Store(out, i * w.out_features() + o, sum);
      }
    }
  }

  void LinearAdd(Stream& stream, Tensor x, const PackedLinear& w, Tensor residual) override {
    CheckTensors(Op::kLinearAdd, {x, residual});
    const auto& weights = static_cast<const ReferenceLinear&>(w);
    for (int64_t i = 0; i < x.rows; ++i) {
      const std::vector<float> row = LoadRow(x, i);
      for (int64_t o = 0; o < w.out_features(); ++o) {
        const int64_t at = i * w.out_features() + o;
        Store(residual, at, Load(residual, at) + Product(row, weights, o));
      }
    }
  }

  void GatedLinear(Stream& stream, Tensor x, const PackedGatedLinear& w, Tensor out) override {
    CheckTensors(Op::kGatedLinear, {x, out});
    const auto& weights = static_cast<const ReferenceGatedLinear&>(w);
    for (int64_t i = 0; i < x.rows; ++i) {
      const std::vector<float> row = LoadRow(x, i);
      for (int64_t o = 0; o < w.out_features(); ++o) {
        const double gate = Product(row, weights.gate(), o);
        const double up = Product(row, weights.up(), o);
        Store(out, i * w.out_features() + o, gate / (1.0 + std::exp(-gate)) * up);
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
      std::vector<float> heads = LoadRow(qkv, t);
      for (int h = 0; h < local_q_heads + kv_heads; ++h) {
        RotateHead(cos_sin.f32() + t * cos_sin.cols, cos_sin.cols, heads.data() + h * head_dim);
      }
      // The cache gets keys as they are stored.
      StoreMany(qkv, t * qkv.cols, heads);
      heads = LoadRow(qkv, t);
      // The value follows the key in a row of qkv, kv_heads heads further on, and is not rotated.
      const int position = batch.positions[t];
      const int block = BlockOf(batch, t, position);
      const int slot = position % kKvBlockTokens;
      for (int g = 0; g < kv_heads; ++g) {
        const float* key = heads.data() + (local_q_heads + g) * head_dim;
        const KvDType dtype = cache.shape().dtype;
        RoundRow(dtype, key, head_dim, kv.Key(layer, block, slot, g));
        RoundRow(dtype, key + kv_heads * head_dim, head_dim, kv.Value(layer, block, slot, g));
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
        const std::vector<float> query = LoadMany(qkv, t * qkv.cols + h * head_dim, head_dim);
        StoreMany(out, t * out.cols + h * head_dim,
                  Attend(batch, t, query, scale, kv, layer, h / group));
      }
    }
  }

  void GatherRows(Stream& stream, const int32_t* rows, Tensor x, Tensor out) override {
    CheckTensors(Op::kGatherRows, {x, out});
    for (int64_t i = 0; i < out.rows; ++i) {
      StoreMany(out, i * x.cols, LoadRow(x, rows[i]));
    }
  }

 private:
  // One output of a product, as Linear would store it in float32.
  static float Product(const std::vector<float>& x, const ReferenceLinear& weights,
                       int64_t output) {
    return static_cast<float>(Dot(x.data(), weights.row(output), static_cast<int64_t>(x.size())));
  }

  // Attention of one query head of token `t`, by the textbook: all scores, then weights relative to
  // the largest one, so that no exponential overflows.
  static std::vector<float> Attend(const StepBatch& batch, int t, const std::vector<float>& query,
                                   float scale, const ReferenceKvCache& kv, int layer,
                                   int kv_head) {
    const int head_dim = kv.shape().head_dim;
    const int num_keys = batch.positions[t] + 1;
    double max = -std::numeric_limits<double>::infinity();
    std::vector<double> scores(num_keys);
    for (int s = 0; s < num_keys; ++s) {
      const float* key = kv.Key(layer, BlockOf(batch, t, s), s % kKvBlockTokens, kv_head);
      scores[s] = scale * Dot(query.data(), key, head_dim);
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
    std::vector<float> out(head_dim);
    for (int d = 0; d < head_dim; ++d) out[d] = static_cast<float>(mix[d] / sum);
    return out;
  }

  const ReferenceTypes types_;
};

}  // namespace

std::unique_ptr<Backend> MakeReferenceBackend() { return MakeTypedReferenceBackend({}); }

std::unique_ptr<Backend> MakeTypedReferenceBackend(const ReferenceTypes& types) {
  return std::make_unique<ReferenceBackend>(types);
}

}  // namespace phalanx::kernels
