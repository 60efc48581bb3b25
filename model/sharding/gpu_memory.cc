#include "model/sharding/gpu_memory.h"

#include <algorithm>

#include "absl/types/span.h"
#include "model/files/tensor.h"

namespace phalanx {
namespace {

constexpr int64_t kFloatBytes = 4;
constexpr int64_t kBfloat16Bytes = 2;

constexpr int64_t RoundUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

// --- Weights: kernels/cuda/weight_upload.cc ---

// Each array of a layer begins at a multiple of this.
constexpr int64_t kArrayAlignment = 256;
// As does each row of floats.
constexpr int64_t kRowAlignment = 16;
// Outputs of quantized matrices are filled up to whole tiles.
constexpr int64_t kTileRows = 16;

// What a quantized type becomes.
struct DeviceFormat {
  int code_bits = 0;           // 0 for types that are not quantized.
  int elements_per_scale = 0;  // A scale is float32.
  bool has_minimums = false;   // As many as there are scales.
};

DeviceFormat FormatOf(TensorType type) {
  switch (type) {
    case TensorType::kF32:
    case TensorType::kF16:
    case TensorType::kBF16:
      return {};
    case TensorType::kQ4_0:
      return {.code_bits = 4, .elements_per_scale = 32};
    case TensorType::kQ4_1:
    case TensorType::kQ4_K:
      return {.code_bits = 4, .elements_per_scale = 32, .has_minimums = true};
    case TensorType::kQ2_K:
      return {.code_bits = 4, .elements_per_scale = 16, .has_minimums = true};
    case TensorType::kQ3_K:
      return {.code_bits = 4, .elements_per_scale = 16};
    case TensorType::kQ5_0:
    case TensorType::kQ8_0:
    case TensorType::kIQ4_NL:
      return {.code_bits = 8, .elements_per_scale = 32};
    case TensorType::kQ5_1:
    case TensorType::kQ5_K:
      return {.code_bits = 8, .elements_per_scale = 32, .has_minimums = true};
    case TensorType::kQ6_K:
      return {.code_bits = 8, .elements_per_scale = 16};
  }
  return {};
}

int64_t MatrixBytes(TensorType type, int64_t rows, int64_t cols) {
  const DeviceFormat format = FormatOf(type);
  if (format.code_bits == 0) {
    const int64_t element = type == TensorType::kF32 ? kFloatBytes : kBfloat16Bytes;
    return RoundUp(RoundUp(cols * element, kRowAlignment) * rows, kArrayAlignment);
  }
  const int64_t weights = RoundUp(rows, kTileRows) * cols;
  const int64_t scales =
      RoundUp(weights / format.elements_per_scale * kFloatBytes, kArrayAlignment);
  return RoundUp(weights * format.code_bits / 8, kArrayAlignment) +
         scales * (format.has_minimums ? 2 : 1);
}

int64_t MatrixBytes(const TensorPart& part) {
  if (part.tensor == nullptr) return 0;
  return MatrixBytes(part.kept_type, part.num_rows, part.cols.size());
}

// Parts that are stacked: neighbours of one type are one matrix.
int64_t StackedBytes(absl::Span<const TensorPart> parts) {
  int64_t bytes = 0;
  for (size_t i = 0; i < parts.size();) {
    const TensorPart& first = parts[i];
    int64_t rows = 0;
    for (; i < parts.size() && parts[i].kept_type == first.kept_type; ++i) {
      rows += parts[i].num_rows;
    }
    bytes += MatrixBytes(first.kept_type, rows, first.cols.size());
  }
  return bytes;
}

int64_t VectorBytes(const TensorPart& part) { return part.cols.size() * kFloatBytes; }

// --- The memory of a step: worker/model/activations.cc and kernels/cuda/workspace.cc ---

// Adds up arrays that each begin at a multiple of some bytes.
class Arrays {
 public:
  explicit Arrays(int64_t alignment) : alignment_(alignment) {}

  void Add(int64_t elements, int64_t element_bytes) {
    bytes_ += RoundUp(elements * element_bytes, alignment_);
  }
  int64_t bytes() const { return bytes_; }

 private:
  const int64_t alignment_;
  int64_t bytes_ = 0;
};

constexpr int64_t kTensorAlignment = 64;

// Words with which tokens are drawn, for each row of logits.
constexpr int64_t kWordBytes = 8;
constexpr int64_t kCutBytes = 16;
constexpr int64_t kDigitValues = 256;
constexpr int64_t kLogProbTerms = 3;
constexpr int64_t kTopWords = 20;

// What a step may bring to change logits: so many edits, and a bit for each row and token.
constexpr int64_t kStepEdits = 1 << 18;
constexpr int64_t kEditBytes = 16;

// Attention works on segments of a sequence. Steps of few tokens share them out, and keep for each
// token, query head and segment a weighed value and two more numbers, and for each token and query
// head a counter.
constexpr int64_t kSegmentTokens = 256;
constexpr int64_t kMaxSplitTokens = 16;
constexpr int64_t kCounterBytes = 4;

void AddSamplerWords(int64_t rows, Arrays* arrays) {
  arrays->Add(rows, kWordBytes);
  arrays->Add(3 * rows, kCutBytes);
  arrays->Add(2 * rows, kWordBytes);
  arrays->Add(rows * kDigitValues, kWordBytes);
  arrays->Add(rows, kWordBytes);
  arrays->Add(rows, kWordBytes);
  arrays->Add(rows * kLogProbTerms, kWordBytes);
}

}  // namespace

int64_t GpuWeightBytes(const WeightPlan& plan) {
  int64_t bytes =
      MatrixBytes(plan.embedding) + VectorBytes(plan.final_norm) + MatrixBytes(plan.output);
  for (const LayerPlan& layer : plan.layers) {
    bytes += VectorBytes(layer.attention_norm) + MatrixBytes(layer.attention_out) +
             VectorBytes(layer.ffn_norm) + MatrixBytes(layer.gate) + MatrixBytes(layer.up) +
             MatrixBytes(layer.down);
    bytes += StackedBytes(layer.qkv);
    for (const TensorPart& bias : layer.qkv_bias) bytes += VectorBytes(bias);
  }
  return bytes;
}

int64_t GpuKvBytesPerToken(const ModelSpec& spec, int kv_heads, KvType type) {
  const int64_t of_head = 2 * (spec.head_dim * KvNumberBytes(type) + KvScaleBytes(type));
  return of_head * spec.num_layers * kv_heads;
}

int64_t GpuWorkspaceBytes(const ModelSpec& spec, const Shard& shard, const GpuStepLimits& limits) {
  Arrays arrays(kArrayAlignment);
  AddSamplerWords(limits.max_seqs, &arrays);
  const int64_t segments =
      RoundUp(RoundUp(spec.context_tokens, kGpuKvBlockTokens), kSegmentTokens) / kSegmentTokens;
  if (segments > 1) {
    arrays.Add(kMaxSplitTokens * shard.q_heads.size() * segments * (spec.head_dim + 2),
               kFloatBytes);
    arrays.Add(kMaxSplitTokens * shard.q_heads.size(), kCounterBytes);
  }
  return arrays.bytes();
}

int64_t GpuActivationBytes(const ModelSpec& spec, const Shard& shard, const GpuStepLimits& limits) {
  const int64_t tokens = limits.max_step_tokens;
  const int64_t seqs = limits.max_seqs;
  const int64_t q_dims = int64_t{shard.q_heads.size()} * spec.head_dim;
  const int64_t kv_dims = int64_t{shard.kv_heads.size()} * spec.head_dim;
  const int64_t blocks = RoundUp(spec.context_tokens, kGpuKvBlockTokens) / kGpuKvBlockTokens;
  Arrays arrays(kTensorAlignment);
  arrays.Add((seqs + 1) * blocks, sizeof(int32_t));
  // A step may bring one whole block table, as entries of slot, index and block.
  arrays.Add(blocks, 3 * sizeof(int32_t));
  arrays.Add(tokens * spec.rotary_dim, kFloatBytes);
  arrays.Add(tokens * spec.hidden, kFloatBytes);
  arrays.Add(tokens * spec.hidden, kBfloat16Bytes);
  arrays.Add(tokens * (q_dims + 2 * kv_dims), kBfloat16Bytes);
  arrays.Add(tokens * q_dims, kBfloat16Bytes);
  arrays.Add(tokens * shard.ffn.size(), kBfloat16Bytes);
  arrays.Add(seqs * spec.hidden, kBfloat16Bytes);
  arrays.Add(seqs * shard.vocab.size(), kFloatBytes);
  arrays.Add(kStepEdits, kEditBytes);
  arrays.Add(seqs * RoundUp(spec.vocab, 32) / 32, sizeof(uint32_t));
  AddSamplerWords(seqs, &arrays);
  arrays.Add(seqs * kTopWords, kWordBytes);
  arrays.Add(shard.world * seqs * kDigitValues, kWordBytes);
  arrays.Add(shard.world * seqs, kWordBytes);
  if (shard.world > 1) arrays.Add(shard.world * seqs * kTopWords, kWordBytes);
  return arrays.bytes();
}

int64_t GpuReservedBytes(const Shard& shard) {
  return kGpuContextBytes + (shard.world > 1 ? kGpuNcclBytes : 0);
}

int64_t GpuKvCacheTokens(const ModelSpec& spec, int kv_heads, KvType type, int64_t bytes) {
  const int64_t block_bytes = kGpuKvBlockTokens * GpuKvBytesPerToken(spec, kv_heads, type);
  return std::max<int64_t>(bytes / block_bytes - 1, 0) * kGpuKvBlockTokens;
}

int64_t SequencesThatFit(int64_t cache_tokens, int64_t tokens) {
  return cache_tokens / RoundUp(tokens, kGpuKvBlockTokens);
}

}  // namespace phalanx
