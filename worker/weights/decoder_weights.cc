#include "worker/weights/decoder_weights.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/status.h"
#include "kernels/dequantize.h"
#include "kernels/dtype.h"
#include "kernels/quantize.h"
#include "model/sharding/weight_plan.h"
#include "worker/weights/weight_bytes.h"

namespace phalanx {
namespace {

using kernels::Buffer;
using kernels::DType;
using kernels::LinearSource;
using kernels::PackedGatedLinear;
using kernels::PackedLinear;

// Rows of one tensor that are to be packed.
struct Rows {
  DType dtype = DType::kF32;
  int64_t in_features = 0;
  std::vector<const std::byte*> rows;
  // What `rows` points into, instead of the file, if columns had to be cut out of quantized blocks.
  std::vector<float> dequantized = {};
  // The same for rows that were quantized.
  std::vector<std::byte> quantized = {};

  LinearSource source() const { return {dtype, in_features, rows}; }
};

class Loader {
 public:
  Loader(const Checkpoint& checkpoint, const ModelSpec& spec, kernels::Backend& backend,
         const std::function<bool()>& interrupted)
      : checkpoint_(checkpoint),
        spec_(spec),
        backend_(backend),
        interrupted_(interrupted),
        stream_(backend.NewStream()) {}

  absl::StatusOr<DecoderWeights> Load(const WeightPlan& plan);

 private:
  absl::Status LoadAll(const WeightPlan& plan, DecoderWeights& weights);
  absl::StatusOr<LayerWeights> LoadLayer(const LayerPlan& plan);

  absl::Status CheckInterrupted(const TensorPart& part) const;
  Rows Take(const TensorPart& part);
  // Replaces the rows, which are of part.tensor's type and whole, by their quantized form.
  void Quantize(const TensorPart& part, Rows& rows);
  absl::StatusOr<std::unique_ptr<PackedLinear>> Pack(absl::Span<const TensorPart> parts);
  absl::StatusOr<std::unique_ptr<PackedLinear>> Pack(const TensorPart& part) {
    return Pack(absl::MakeConstSpan(&part, 1));
  }
  absl::StatusOr<std::unique_ptr<PackedGatedLinear>> PackGated(const TensorPart& gate,
                                                               const TensorPart& up);
  // Counts the bytes of what the backend has made of tensors, or tells the first of these with its
  // error.
  template <typename Packed>
  absl::StatusOr<std::unique_ptr<Packed>> Count(const TensorPart& first,
                                                absl::StatusOr<std::unique_ptr<Packed>> packed);
  // Puts vectors one behind the other, as float32.
  absl::StatusOr<std::unique_ptr<Buffer>> LoadVector(absl::Span<const TensorPart> parts);
  absl::StatusOr<std::unique_ptr<Buffer>> LoadVector(const TensorPart& part) {
    return LoadVector(absl::MakeConstSpan(&part, 1));
  }

  // The indices [first, first + count) of rows, or of elements of a bias. If these are whole heads
  // with rotary dimensions, in the order that makes them half-split.
  std::vector<int64_t> Indices(int64_t first, int64_t count, bool rotary_heads) const;

  const Checkpoint& checkpoint_;
  const ModelSpec& spec_;
  kernels::Backend& backend_;
  const std::function<bool()>& interrupted_;
  const std::unique_ptr<kernels::Stream> stream_;
  // What is being copied to the backend: it has to stay until the stream is done.
  std::vector<std::vector<float>> vectors_;
  size_t bytes_ = 0;
  // Of all weights that were quantized, and of what they changed by.
  double squares_ = 0;
  double squared_errors_ = 0;
};

absl::Status Loader::CheckInterrupted(const TensorPart& part) const {
  if (!interrupted_ || !interrupted_()) return absl::OkStatus();
  return absl::CancelledError(
      absl::StrCat("interrupted before tensor ", part.tensor->name, " was loaded"));
}

std::vector<int64_t> Loader::Indices(int64_t first, int64_t count, bool rotary_heads) const {
  std::vector<int64_t> indices(count);
  std::iota(indices.begin(), indices.end(), first);
  if (!rotary_heads || !spec_.interleaved_qk_rows) return indices;
  // llama.cpp's converter puts dims j and j + n / 2 of a head's n rotated ones at 2j and 2j + 1.
  const std::vector<int64_t> interleaved = indices;
  const int half = spec_.rotary_dim / 2;
  for (int64_t head = 0; head < count; head += spec_.head_dim) {
    for (int j = 0; j < half; ++j) {
      indices[head + j] = interleaved[head + 2 * j];
      indices[head + half + j] = interleaved[head + 2 * j + 1];
    }
  }
  return indices;
}

Rows Loader::Take(const TensorPart& part) {
  const TensorView& tensor = *part.tensor;
  const DType dtype = DTypeOf(tensor.type);
  const int block = kernels::BlockElements(dtype);
  const size_t row_bytes = kernels::RowBytes(dtype, tensor.cols);
  // The columns of all blocks that hold a wanted one: rows can be cut at block borders only.
  const int64_t begin = part.cols.begin / block * block;
  const int64_t end = (int64_t{part.cols.end} + block - 1) / block * block;
  const std::byte* first = tensor.data.data() + kernels::RowBytes(dtype, begin);

  Rows taken{.dtype = DTypeOf(part.kept_type), .in_features = part.cols.size(), .rows = {}};
  taken.rows.reserve(part.num_rows);
  for (const int64_t row : Indices(part.first_row, part.num_rows, part.rotary_heads)) {
    taken.rows.push_back(first + row * row_bytes);
  }
  // The plan keeps the file's type wherever the wanted columns are whole blocks: then rows stay
  // where they are in the file. Otherwise they are dequantized and cut, which is exact but takes
  // more memory.
  if (part.kept_type == tensor.type) return taken;
  if (kernels::IsQuantized(taken.dtype)) {
    Quantize(part, taken);
    return taken;
  }

  taken.dequantized.resize(taken.rows.size() * part.cols.size());
  std::vector<float> blocks(end - begin);
  for (size_t i = 0; i < taken.rows.size(); ++i) {
    kernels::Dequantize(dtype, taken.rows[i], end - begin, blocks.data());
    float* const cut = taken.dequantized.data() + i * part.cols.size();
    std::copy_n(blocks.begin() + (part.cols.begin - begin), part.cols.size(), cut);
    taken.rows[i] = reinterpret_cast<const std::byte*>(cut);
  }
  return taken;
}

void Loader::Quantize(const TensorPart& part, Rows& rows) {
  const DType from = DTypeOf(part.tensor->type);
  const auto cols = static_cast<int64_t>(part.cols.size());
  const size_t row_bytes = kernels::RowBytes(rows.dtype, cols);
  rows.quantized.resize(rows.rows.size() * row_bytes);
  std::vector<float> row(cols);
  std::vector<float> back(cols);
  for (size_t i = 0; i < rows.rows.size(); ++i) {
    std::byte* const to = rows.quantized.data() + i * row_bytes;
    kernels::Dequantize(from, rows.rows[i], cols, row.data());
    kernels::QuantizeRow(rows.dtype, row, to);
    kernels::Dequantize(rows.dtype, to, cols, back.data());
    for (int64_t j = 0; j < cols; ++j) {
      const double weight = row[j];
      squares_ += weight * weight;
      squared_errors_ += (back[j] - weight) * (back[j] - weight);
    }
    rows.rows[i] = to;
  }
}

absl::StatusOr<std::unique_ptr<PackedLinear>> Loader::Pack(absl::Span<const TensorPart> parts) {
  std::vector<Rows> taken;
  std::vector<LinearSource> sources;
  // All parts first: sources point into `taken`, which must not grow any more.
  for (const TensorPart& part : parts) {
    RETURN_IF_ERROR(CheckInterrupted(part));
    taken.push_back(Take(part));
  }
  sources.reserve(taken.size());
  for (const Rows& rows : taken) sources.push_back(rows.source());
  return Count(parts[0], backend_.PackLinear(sources));
}

absl::StatusOr<std::unique_ptr<PackedGatedLinear>> Loader::PackGated(const TensorPart& gate,
                                                                     const TensorPart& up) {
  RETURN_IF_ERROR(CheckInterrupted(gate));
  const Rows gate_rows = Take(gate);
  RETURN_IF_ERROR(CheckInterrupted(up));
  const Rows up_rows = Take(up);
  return Count(gate, backend_.PackGatedLinear(gate_rows.source(), up_rows.source()));
}

template <typename Packed>
absl::StatusOr<std::unique_ptr<Packed>> Loader::Count(
    const TensorPart& first, absl::StatusOr<std::unique_ptr<Packed>> packed) {
  if (!packed.ok()) {
    return absl::Status(packed.status().code(),
                        absl::StrCat(checkpoint_.path(), ": tensor ", first.tensor->name, ": ",
                                     packed.status().message()));
  }
  bytes_ += (*packed)->bytes();
  return packed;
}

absl::StatusOr<std::unique_ptr<Buffer>> Loader::LoadVector(absl::Span<const TensorPart> parts) {
  std::vector<float> values;
  for (const TensorPart& part : parts) {
    RETURN_IF_ERROR(CheckInterrupted(part));
    const TensorView& tensor = *part.tensor;
    // Vectors are short, so this one is read whole, whatever part of it is wanted.
    std::vector<float> whole(tensor.cols);
    kernels::Dequantize(DTypeOf(tensor.type), tensor.data.data(), tensor.cols, whole.data());
    for (const int64_t index : Indices(part.cols.begin, part.cols.size(), part.rotary_heads)) {
      values.push_back(whole[index]);
    }
  }
  const size_t bytes = values.size() * sizeof(float);
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer, backend_.Allocate(bytes));
  backend_.CopyToBackend(*stream_, buffer->data(), values.data(), bytes);
  vectors_.push_back(std::move(values));
  bytes_ += buffer->bytes();
  return buffer;
}

absl::StatusOr<LayerWeights> Loader::LoadLayer(const LayerPlan& plan) {
  LayerWeights weights;
  ASSIGN_OR_RETURN(weights.attention_norm, LoadVector(plan.attention_norm));
  ASSIGN_OR_RETURN(weights.qkv, Pack(plan.qkv));
  if (!plan.qkv_bias.empty()) {
    ASSIGN_OR_RETURN(weights.qkv_bias, LoadVector(plan.qkv_bias));
  }
  ASSIGN_OR_RETURN(weights.attention_out, Pack(plan.attention_out));
  ASSIGN_OR_RETURN(weights.ffn_norm, LoadVector(plan.ffn_norm));
  ASSIGN_OR_RETURN(weights.gate_up, PackGated(plan.gate, plan.up));
  ASSIGN_OR_RETURN(weights.down, Pack(plan.down));
  return weights;
}

absl::Status Loader::LoadAll(const WeightPlan& plan, DecoderWeights& weights) {
  ASSIGN_OR_RETURN(weights.embedding, Pack(plan.embedding));
  for (const LayerPlan& layer : plan.layers) {
    ASSIGN_OR_RETURN(LayerWeights loaded, LoadLayer(layer));
    weights.layers.push_back(std::move(loaded));
  }
  ASSIGN_OR_RETURN(weights.final_norm, LoadVector(plan.final_norm));
  if (plan.output.tensor != nullptr) {
    ASSIGN_OR_RETURN(weights.output, Pack(plan.output));
  }
  weights.bytes = bytes_;
  if (squares_ > 0) weights.quantization_error = std::sqrt(squared_errors_ / squares_);
  return absl::OkStatus();
}

absl::StatusOr<DecoderWeights> Loader::Load(const WeightPlan& plan) {
  DecoderWeights weights;
  const absl::Status loaded = LoadAll(plan, weights);
  // After an error too: the memory that copies go from and to may only go once they are done.
  const absl::Status copied = stream_->Synchronize();
  RETURN_IF_ERROR(loaded);
  RETURN_IF_ERROR(copied);
  return weights;
}

}  // namespace

absl::StatusOr<DecoderWeights> LoadDecoderWeights(const Checkpoint& checkpoint,
                                                  const ModelSpec& spec, const Shard& shard,
                                                  kernels::Backend& backend,
                                                  const std::function<bool()>& interrupted,
                                                  WeightForm form) {
  ASSIGN_OR_RETURN(WeightPlan plan, PlanWeights(checkpoint, spec, shard));
  QuantizePlan(form, &plan);
  absl::StatusOr<DecoderWeights> weights =
      Loader(checkpoint, spec, backend, interrupted).Load(plan);
  // What was read is packed now. Its pages would count as this process's memory until the system
  // needs them elsewhere.
  checkpoint.DropPages();
  return weights;
}

}  // namespace phalanx
