#include "worker/weights/decoder_weights.h"

#include <string>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "kernels/dtype.h"

namespace phalanx {
namespace {

using kernels::Buffer;
using kernels::DType;
using kernels::LinearSource;
using kernels::PackedLinear;

// Pointers to the rows of a part of one tensor.
struct Rows {
  DType dtype = DType::kF32;
  int64_t in_features = 0;
  std::vector<const std::byte*> pointers;

  LinearSource source() const { return {dtype, in_features, pointers}; }
};

class Loader {
 public:
  Loader(const Checkpoint& checkpoint, const ModelSpec& spec, const Shard& shard,
         kernels::Backend& backend)
      : checkpoint_(checkpoint), spec_(spec), shard_(shard), backend_(backend) {}

  absl::StatusOr<DecoderWeights> Load();

 private:
  absl::StatusOr<LayerWeights> LoadLayer(int layer);
  // The tensor, of that shape.
  absl::StatusOr<const TensorView*> Find(const std::string& name, int64_t rows, int64_t cols);
  absl::StatusOr<DType> TypeOf(const TensorView& tensor) const;

  // Rows [rows.begin, rows.end) and columns [cols.begin, cols.end) of a tensor of full shape
  // [total_rows, total_cols].
  absl::StatusOr<Rows> Part(const std::string& name, int64_t total_rows, Range rows,
                            int64_t total_cols, Range cols);
  absl::StatusOr<Rows> RowPart(const std::string& name, int64_t total_rows, Range rows) {
    return Part(name, total_rows, rows, spec_.hidden, {0, spec_.hidden});
  }
  absl::StatusOr<Rows> ColumnPart(const std::string& name, int64_t total_cols, Range cols) {
    return Part(name, spec_.hidden, {0, spec_.hidden}, total_cols, cols);
  }
  // Rows of whole heads, in half-split rotary order.
  absl::StatusOr<Rows> RotaryPart(const std::string& name, int num_heads, Range heads);

  absl::StatusOr<std::unique_ptr<PackedLinear>> Pack(absl::string_view name,
                                                     absl::Span<const LinearSource> sources);
  absl::StatusOr<std::unique_ptr<Buffer>> LoadNorm(const std::string& name);
  absl::Status RefuseOthers() const;

  Range Dims(Range heads) const {
    return {heads.begin * spec_.head_dim, heads.end * spec_.head_dim};
  }
  absl::Status Wrong(absl::string_view name, absl::string_view what) const {
    return absl::DataLossError(absl::StrCat(checkpoint_.path(), ": tensor ", name, ": ", what));
  }

  const Checkpoint& checkpoint_;
  const ModelSpec& spec_;
  const Shard& shard_;
  kernels::Backend& backend_;
  size_t bytes_ = 0;
  absl::flat_hash_set<absl::string_view> used_;
};

absl::StatusOr<const TensorView*> Loader::Find(const std::string& name, int64_t rows,
                                               int64_t cols) {
  const TensorView* tensor = checkpoint_.FindTensor(name);
  if (tensor == nullptr) return Wrong(name, "missing");
  if (tensor->rows != rows || tensor->cols != cols) {
    return Wrong(name, absl::StrCat(tensor->rows, " rows of ", tensor->cols, " elements, where ",
                                    rows, " of ", cols, " are expected"));
  }
  used_.insert(tensor->name);
  return tensor;
}

absl::StatusOr<DType> Loader::TypeOf(const TensorView& tensor) const {
  switch (tensor.type) {
    case TensorType::kF32:
      return DType::kF32;
    case TensorType::kF16:
      return DType::kF16;
    case TensorType::kBF16:
      return DType::kBF16;
    case TensorType::kQ4_0:
      return DType::kQ4_0;
    case TensorType::kQ4_1:
      return DType::kQ4_1;
    case TensorType::kQ8_0:
      return DType::kQ8_0;
    default:
      return absl::UnimplementedError(absl::StrCat(
          checkpoint_.path(), ": tensor ", tensor.name, ": ", TensorTypeName(tensor.type),
          " cannot be loaded; these can: F32, F16, BF16, Q4_0, Q4_1, Q8_0"));
  }
}

absl::StatusOr<Rows> Loader::Part(const std::string& name, int64_t total_rows, Range rows,
                                  int64_t total_cols, Range cols) {
  ASSIGN_OR_RETURN(const TensorView* tensor, Find(name, total_rows, total_cols));
  ASSIGN_OR_RETURN(const DType dtype, TypeOf(*tensor));
  const int block = kernels::BlockElements(dtype);
  if (cols.begin % block != 0 || cols.size() % block != 0) {
    return absl::UnimplementedError(
        absl::StrCat(checkpoint_.path(), ": tensor ", name, ": ", TensorTypeName(tensor->type),
                     " cannot be cut at columns ", cols.begin, " and ", cols.end, " for rank ",
                     shard_.rank, " of ", shard_.world, ": blocks have ", block, " elements"));
  }
  Rows part{dtype, cols.size(), {}};
  part.pointers.reserve(rows.size());
  const size_t row_bytes = kernels::RowBytes(dtype, total_cols);
  const std::byte* first = tensor->data.data() + kernels::RowBytes(dtype, cols.begin);
  for (int row = rows.begin; row < rows.end; ++row)
    part.pointers.push_back(first + row * row_bytes);
  return part;
}

absl::StatusOr<Rows> Loader::RotaryPart(const std::string& name, int num_heads, Range heads) {
  ASSIGN_OR_RETURN(Rows part, RowPart(name, int64_t{num_heads} * spec_.head_dim, Dims(heads)));
  if (!spec_.interleaved_qk_rows) return part;
  // llama.cpp's converter puts dims j and j + n / 2 of a head's n rotated ones at 2j and 2j + 1.
  const std::vector<const std::byte*> interleaved = part.pointers;
  const int half = spec_.rotary_dim / 2;
  for (int head = 0; head < heads.size(); ++head) {
    const int first = head * spec_.head_dim;
    for (int j = 0; j < half; ++j) {
      part.pointers[first + j] = interleaved[first + 2 * j];
      part.pointers[first + half + j] = interleaved[first + 2 * j + 1];
    }
  }
  return part;
}

absl::StatusOr<std::unique_ptr<PackedLinear>> Loader::Pack(absl::string_view name,
                                                           absl::Span<const LinearSource> sources) {
  absl::StatusOr<std::unique_ptr<PackedLinear>> packed = backend_.PackLinear(sources);
  if (!packed.ok()) {
    return absl::Status(packed.status().code(), absl::StrCat(checkpoint_.path(), ": tensor ", name,
                                                             ": ", packed.status().message()));
  }
  bytes_ += (*packed)->bytes();
  return packed;
}

absl::StatusOr<std::unique_ptr<Buffer>> Loader::LoadNorm(const std::string& name) {
  ASSIGN_OR_RETURN(const TensorView* tensor, Find(name, 1, spec_.hidden));
  if (tensor->type != TensorType::kF32) {
    return absl::UnimplementedError(absl::StrCat(checkpoint_.path(), ": tensor ", name,
                                                 ": a norm of ", TensorTypeName(tensor->type),
                                                 " cannot be loaded; F32 can"));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> norm, backend_.Allocate(tensor->data.size()));
  const std::unique_ptr<kernels::Stream> stream = backend_.NewStream();
  backend_.CopyToBackend(*stream, norm->data(), tensor->data.data(), tensor->data.size());
  RETURN_IF_ERROR(stream->Synchronize());
  bytes_ += norm->bytes();
  return norm;
}

absl::StatusOr<LayerWeights> Loader::LoadLayer(int layer) {
  const std::string prefix = absl::StrCat("blk.", layer, ".");
  const int64_t kv_rows = int64_t{spec_.num_kv_heads} * spec_.head_dim;
  const int64_t q_rows = int64_t{spec_.num_q_heads} * spec_.head_dim;
  LayerWeights weights;
  ASSIGN_OR_RETURN(weights.attention_norm, LoadNorm(prefix + "attn_norm.weight"));
  ASSIGN_OR_RETURN(const Rows q,
                   RotaryPart(prefix + "attn_q.weight", spec_.num_q_heads, shard_.q_heads));
  ASSIGN_OR_RETURN(const Rows k,
                   RotaryPart(prefix + "attn_k.weight", spec_.num_kv_heads, shard_.kv_heads));
  ASSIGN_OR_RETURN(const Rows v, RowPart(prefix + "attn_v.weight", kv_rows, Dims(shard_.kv_heads)));
  ASSIGN_OR_RETURN(weights.qkv,
                   Pack(prefix + "attn_{q,k,v}.weight", {q.source(), k.source(), v.source()}));
  ASSIGN_OR_RETURN(const Rows out,
                   ColumnPart(prefix + "attn_output.weight", q_rows, Dims(shard_.q_heads)));
  ASSIGN_OR_RETURN(weights.attention_out, Pack(prefix + "attn_output.weight", {out.source()}));

  ASSIGN_OR_RETURN(weights.ffn_norm, LoadNorm(prefix + "ffn_norm.weight"));
  ASSIGN_OR_RETURN(const Rows gate, RowPart(prefix + "ffn_gate.weight", spec_.ffn, shard_.ffn));
  ASSIGN_OR_RETURN(const Rows up, RowPart(prefix + "ffn_up.weight", spec_.ffn, shard_.ffn));
  ASSIGN_OR_RETURN(weights.gate_up,
                   Pack(prefix + "ffn_{gate,up}.weight", {gate.source(), up.source()}));
  ASSIGN_OR_RETURN(const Rows down, ColumnPart(prefix + "ffn_down.weight", spec_.ffn, shard_.ffn));
  ASSIGN_OR_RETURN(weights.down, Pack(prefix + "ffn_down.weight", {down.source()}));
  return weights;
}

// A tensor that nobody asked for (a bias, an adapter) means that the result would be wrong.
absl::Status Loader::RefuseOthers() const {
  for (const TensorView& tensor : checkpoint_.tensors()) {
    if (!used_.contains(tensor.name)) {
      return absl::UnimplementedError(absl::StrCat(
          checkpoint_.path(), ": tensor ", absl::CHexEscape(tensor.name), " is not supported"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<DecoderWeights> Loader::Load() {
  DecoderWeights weights;
  ASSIGN_OR_RETURN(const Rows embedding, RowPart("token_embd.weight", spec_.vocab, shard_.vocab));
  ASSIGN_OR_RETURN(weights.embedding, Pack("token_embd.weight", {embedding.source()}));
  for (int layer = 0; layer < spec_.num_layers; ++layer) {
    ASSIGN_OR_RETURN(LayerWeights loaded, LoadLayer(layer));
    weights.layers.push_back(std::move(loaded));
  }
  ASSIGN_OR_RETURN(weights.final_norm, LoadNorm("output_norm.weight"));
  if (!spec_.tied_embeddings) {
    ASSIGN_OR_RETURN(const Rows output, RowPart("output.weight", spec_.vocab, shard_.vocab));
    ASSIGN_OR_RETURN(weights.output, Pack("output.weight", {output.source()}));
  }
  RETURN_IF_ERROR(RefuseOthers());
  weights.bytes = bytes_;
  return weights;
}

}  // namespace

absl::StatusOr<DecoderWeights> LoadDecoderWeights(const Checkpoint& checkpoint,
                                                  const ModelSpec& spec, const Shard& shard,
                                                  kernels::Backend& backend) {
  absl::StatusOr<DecoderWeights> weights = Loader(checkpoint, spec, shard, backend).Load();
  checkpoint.DropPages();
  return weights;
}

}  // namespace phalanx
