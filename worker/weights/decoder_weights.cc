#include "worker/weights/decoder_weights.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <numeric>
#include <string>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "kernels/dequantize.h"
#include "kernels/dtype.h"
#include "worker/weights/tensor_names.h"

namespace phalanx {
namespace {

using kernels::Buffer;
using kernels::DType;
using kernels::LinearSource;
using kernels::PackedLinear;

constexpr std::pair<TensorType, DType> kLoadableTypes[] = {
    {TensorType::kF32, DType::kF32},   {TensorType::kF16, DType::kF16},
    {TensorType::kBF16, DType::kBF16}, {TensorType::kQ4_0, DType::kQ4_0},
    {TensorType::kQ4_1, DType::kQ4_1}, {TensorType::kQ5_0, DType::kQ5_0},
    {TensorType::kQ5_1, DType::kQ5_1}, {TensorType::kQ8_0, DType::kQ8_0},
    {TensorType::kQ2_K, DType::kQ2_K}, {TensorType::kQ3_K, DType::kQ3_K},
    {TensorType::kQ4_K, DType::kQ4_K}, {TensorType::kQ5_K, DType::kQ5_K},
    {TensorType::kQ6_K, DType::kQ6_K}, {TensorType::kIQ4_NL, DType::kIQ4_NL},
};

// Some rows of a tensor, and of these some columns.
struct Part {
  DType dtype = DType::kF32;
  int64_t in_features = 0;
  std::vector<const std::byte*> rows;
  // What `rows` points into if the columns had to be cut out of blocks.
  std::vector<float> dequantized = {};

  LinearSource source() const { return {dtype, in_features, rows}; }
};

// A matrix that is the rows [first_row, ...) of a tensor.
struct Section {
  std::string tensor;
  int64_t total_rows = 0;
  int64_t first_row = 0;
};

class Loader {
 public:
  Loader(const Checkpoint& checkpoint, const ModelSpec& spec, const Shard& shard,
         kernels::Backend& backend, const std::function<bool()>& interrupted)
      : checkpoint_(checkpoint),
        spec_(spec),
        shard_(shard),
        backend_(backend),
        interrupted_(interrupted) {}

  absl::StatusOr<DecoderWeights> Load();

 private:
  absl::StatusOr<LayerWeights> LoadLayer(int layer);
  absl::Status LoadQkv(const LayerNames& names, LayerWeights* weights);
  absl::Status LoadGateUp(const LayerNames& names, LayerWeights* weights);

  // The tensor, of that shape.
  absl::StatusOr<const TensorView*> Find(const std::string& name, int64_t rows, int64_t cols);
  absl::StatusOr<DType> TypeOf(const TensorView& tensor) const;

  // The columns [cols.begin, cols.end) of some rows of a tensor of full shape
  // [total_rows, total_cols].
  absl::StatusOr<Part> Take(const std::string& name, int64_t total_rows,
                            absl::Span<const int64_t> rows, int64_t total_cols, Range cols);
  absl::StatusOr<Part> TakeRows(const Section& section, absl::Span<const int64_t> rows) {
    return Take(section.tensor + ".weight", section.total_rows, rows, spec_.hidden,
                {0, spec_.hidden});
  }
  // Columns of a matrix with `hidden` outputs.
  absl::StatusOr<std::unique_ptr<PackedLinear>> PackColumns(const std::string& name,
                                                            int64_t total_cols, Range cols);
  absl::StatusOr<std::unique_ptr<PackedLinear>> PackVocabulary(const std::string& name);

  absl::StatusOr<std::unique_ptr<PackedLinear>> Pack(absl::string_view name,
                                                     absl::Span<const LinearSource> sources);
  // A vector tensor as float32.
  absl::StatusOr<std::vector<float>> ReadVector(const std::string& name, int64_t elements);
  absl::StatusOr<std::unique_ptr<Buffer>> Upload(absl::Span<const float> values);
  absl::StatusOr<std::unique_ptr<Buffer>> LoadNorm(const std::string& name);
  absl::Status RefuseOthers() const;

  Range Dims(Range heads) const {
    return {heads.begin * spec_.head_dim, heads.end * spec_.head_dim};
  }
  // The tensor rows of whole heads, those of rotary heads in half-split order.
  std::vector<int64_t> HeadRows(int64_t first_row, Range heads, bool rotary) const;
  absl::Status Wrong(absl::string_view name, absl::string_view what) const {
    return absl::DataLossError(absl::StrCat(checkpoint_.path(), ": tensor ", name, ": ", what));
  }

  const Checkpoint& checkpoint_;
  const ModelSpec& spec_;
  const Shard& shard_;
  kernels::Backend& backend_;
  const std::function<bool()>& interrupted_;
  size_t bytes_ = 0;
  absl::flat_hash_set<absl::string_view> used_;
};

std::vector<int64_t> RowsFrom(int64_t first, int64_t count) {
  std::vector<int64_t> rows(count);
  std::iota(rows.begin(), rows.end(), first);
  return rows;
}

absl::StatusOr<const TensorView*> Loader::Find(const std::string& name, int64_t rows,
                                               int64_t cols) {
  if (interrupted_ && interrupted_()) {
    return absl::CancelledError(absl::StrCat("interrupted before tensor ", name, " was loaded"));
  }
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
  for (const auto& [type, dtype] : kLoadableTypes) {
    if (tensor.type == type) return dtype;
  }
  return absl::UnimplementedError(
      absl::StrCat(checkpoint_.path(), ": tensor ", tensor.name, ": ", TensorTypeName(tensor.type),
                   " cannot be loaded; these can: ",
                   absl::StrJoin(kLoadableTypes, ", ", [](std::string* out, const auto& loadable) {
                     absl::StrAppend(out, TensorTypeName(loadable.first));
                   })));
}

absl::StatusOr<Part> Loader::Take(const std::string& name, int64_t total_rows,
                                  absl::Span<const int64_t> rows, int64_t total_cols, Range cols) {
  ASSIGN_OR_RETURN(const TensorView* tensor, Find(name, total_rows, total_cols));
  ASSIGN_OR_RETURN(const DType dtype, TypeOf(*tensor));
  const int block = kernels::BlockElements(dtype);
  const size_t row_bytes = kernels::RowBytes(dtype, total_cols);
  // From block border to block border.
  const int64_t begin = cols.begin / block * block;
  const int64_t end = (int64_t{cols.end} + block - 1) / block * block;
  const std::byte* first = tensor->data.data() + kernels::RowBytes(dtype, begin);

  Part part{.dtype = dtype, .in_features = cols.size(), .rows = {}};
  part.rows.reserve(rows.size());
  for (const int64_t row : rows) part.rows.push_back(first + row * row_bytes);
  if (begin == cols.begin && end == cols.end) return part;

  // No quantized type can hold a part of a block: it is kept in float32, which is exact.
  part.dtype = DType::kF32;
  part.dequantized.resize(rows.size() * cols.size());
  std::vector<float> blocks(end - begin);
  for (size_t i = 0; i < rows.size(); ++i) {
    kernels::Dequantize(dtype, part.rows[i], end - begin, blocks.data());
    float* const cut = part.dequantized.data() + i * cols.size();
    std::copy_n(blocks.begin() + (cols.begin - begin), cols.size(), cut);
    part.rows[i] = reinterpret_cast<const std::byte*>(cut);
  }
  return part;
}

std::vector<int64_t> Loader::HeadRows(int64_t first_row, Range heads, bool rotary) const {
  const Range dims = Dims(heads);
  std::vector<int64_t> rows = RowsFrom(first_row + dims.begin, dims.size());
  if (!rotary || !spec_.interleaved_qk_rows) return rows;
  // llama.cpp's converter puts dims j and j + n / 2 of a head's n rotated ones at 2j and 2j + 1.
  const std::vector<int64_t> interleaved = rows;
  const int half = spec_.rotary_dim / 2;
  for (int first = 0; first < dims.size(); first += spec_.head_dim) {
    for (int j = 0; j < half; ++j) {
      rows[first + j] = interleaved[first + 2 * j];
      rows[first + half + j] = interleaved[first + 2 * j + 1];
    }
  }
  return rows;
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

absl::StatusOr<std::unique_ptr<PackedLinear>> Loader::PackColumns(const std::string& name,
                                                                  int64_t total_cols, Range cols) {
  ASSIGN_OR_RETURN(const Part part, Take(name + ".weight", spec_.hidden, RowsFrom(0, spec_.hidden),
                                         total_cols, cols));
  return Pack(name, {part.source()});
}

absl::StatusOr<std::unique_ptr<PackedLinear>> Loader::PackVocabulary(const std::string& name) {
  ASSIGN_OR_RETURN(const Part part,
                   Take(name, spec_.vocab, RowsFrom(shard_.vocab.begin, shard_.vocab.size()),
                        spec_.hidden, {0, spec_.hidden}));
  return Pack(name, {part.source()});
}

absl::StatusOr<std::vector<float>> Loader::ReadVector(const std::string& name, int64_t elements) {
  ASSIGN_OR_RETURN(const TensorView* tensor, Find(name, 1, elements));
  ASSIGN_OR_RETURN(const DType dtype, TypeOf(*tensor));
  if (elements % kernels::BlockElements(dtype) != 0) return Wrong(name, "a block is cut");
  std::vector<float> values(elements);
  kernels::Dequantize(dtype, tensor->data.data(), elements, values.data());
  return values;
}

absl::StatusOr<std::unique_ptr<Buffer>> Loader::Upload(absl::Span<const float> values) {
  const size_t bytes = values.size() * sizeof(float);
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer, backend_.Allocate(bytes));
  const std::unique_ptr<kernels::Stream> stream = backend_.NewStream();
  backend_.CopyToBackend(*stream, buffer->data(), values.data(), bytes);
  RETURN_IF_ERROR(stream->Synchronize());
  bytes_ += buffer->bytes();
  return buffer;
}

absl::StatusOr<std::unique_ptr<Buffer>> Loader::LoadNorm(const std::string& name) {
  ASSIGN_OR_RETURN(const std::vector<float> values, ReadVector(name, spec_.hidden));
  return Upload(values);
}

absl::Status Loader::LoadQkv(const LayerNames& names, LayerWeights* weights) {
  const int64_t q_rows = int64_t{spec_.num_q_heads} * spec_.head_dim;
  const int64_t kv_rows = int64_t{spec_.num_kv_heads} * spec_.head_dim;
  const bool fused = spec_.fused_projections;
  const int64_t all_rows = q_rows + 2 * kv_rows;
  const Section sections[] = {{names.q, fused ? all_rows : q_rows, 0},
                              {names.k, fused ? all_rows : kv_rows, fused ? q_rows : 0},
                              {names.v, fused ? all_rows : kv_rows, fused ? q_rows + kv_rows : 0}};
  const std::vector<int64_t> rows[] = {
      HeadRows(sections[0].first_row, shard_.q_heads, /*rotary=*/true),
      HeadRows(sections[1].first_row, shard_.kv_heads, /*rotary=*/true),
      HeadRows(sections[2].first_row, shard_.kv_heads, /*rotary=*/false)};
  std::vector<Part> parts;
  std::vector<LinearSource> sources;
  for (int i = 0; i < 3; ++i) {
    ASSIGN_OR_RETURN(Part part, TakeRows(sections[i], rows[i]));
    parts.push_back(std::move(part));
  }
  sources.reserve(parts.size());
  for (const Part& part : parts) sources.push_back(part.source());
  ASSIGN_OR_RETURN(weights->qkv, Pack(names.q, sources));
  if (!spec_.qkv_bias) return absl::OkStatus();

  std::vector<float> bias;
  for (int i = 0; i < 3; ++i) {
    ASSIGN_OR_RETURN(const std::vector<float> whole,
                     ReadVector(sections[i].tensor + ".bias", sections[i].total_rows));
    std::transform(rows[i].begin(), rows[i].end(), std::back_inserter(bias),
                   [&](int64_t row) { return whole[row]; });
  }
  ASSIGN_OR_RETURN(weights->qkv_bias, Upload(bias));
  return absl::OkStatus();
}

absl::Status Loader::LoadGateUp(const LayerNames& names, LayerWeights* weights) {
  const bool fused = spec_.fused_projections;
  const int64_t total_rows = fused ? 2 * int64_t{spec_.ffn} : spec_.ffn;
  const int64_t first_up = fused ? spec_.ffn : 0;
  ASSIGN_OR_RETURN(const Part gate, TakeRows({names.gate, total_rows, 0},
                                             RowsFrom(shard_.ffn.begin, shard_.ffn.size())));
  ASSIGN_OR_RETURN(const Part up,
                   TakeRows({names.up, total_rows, first_up},
                            RowsFrom(first_up + shard_.ffn.begin, shard_.ffn.size())));
  ASSIGN_OR_RETURN(weights->gate_up, Pack(names.up, {gate.source(), up.source()}));
  return absl::OkStatus();
}

absl::StatusOr<LayerWeights> Loader::LoadLayer(int layer) {
  const LayerNames names = NamesOfLayer(spec_, layer);
  LayerWeights weights;
  ASSIGN_OR_RETURN(weights.attention_norm, LoadNorm(names.attention_norm));
  RETURN_IF_ERROR(LoadQkv(names, &weights));
  ASSIGN_OR_RETURN(weights.attention_out,
                   PackColumns(names.attention_out, int64_t{spec_.num_q_heads} * spec_.head_dim,
                               Dims(shard_.q_heads)));
  ASSIGN_OR_RETURN(weights.ffn_norm, LoadNorm(names.ffn_norm));
  RETURN_IF_ERROR(LoadGateUp(names, &weights));
  ASSIGN_OR_RETURN(weights.down, PackColumns(names.down, spec_.ffn, shard_.ffn));
  return weights;
}

// A tensor that nobody asked for (a bias, an adapter) means that the result would be wrong.
absl::Status Loader::RefuseOthers() const {
  for (const TensorView& tensor : checkpoint_.tensors()) {
    if (used_.contains(tensor.name) || IsNotOfTheNetwork(spec_, tensor.name)) continue;
    return absl::UnimplementedError(absl::StrCat(
        checkpoint_.path(), ": tensor ", absl::CHexEscape(tensor.name), " is not supported"));
  }
  return absl::OkStatus();
}

absl::StatusOr<DecoderWeights> Loader::Load() {
  const NetworkNames names = NamesOfNetwork(spec_.tensor_naming);
  DecoderWeights weights;
  ASSIGN_OR_RETURN(weights.embedding, PackVocabulary(names.embedding));
  for (int layer = 0; layer < spec_.num_layers; ++layer) {
    ASSIGN_OR_RETURN(LayerWeights loaded, LoadLayer(layer));
    weights.layers.push_back(std::move(loaded));
  }
  ASSIGN_OR_RETURN(weights.final_norm, LoadNorm(names.final_norm));
  if (!spec_.tied_embeddings) {
    ASSIGN_OR_RETURN(weights.output, PackVocabulary(names.output));
  }
  RETURN_IF_ERROR(RefuseOthers());
  weights.bytes = bytes_;
  return weights;
}

}  // namespace

absl::StatusOr<DecoderWeights> LoadDecoderWeights(const Checkpoint& checkpoint,
                                                  const ModelSpec& spec, const Shard& shard,
                                                  kernels::Backend& backend,
                                                  const std::function<bool()>& interrupted) {
  absl::StatusOr<DecoderWeights> weights =
      Loader(checkpoint, spec, shard, backend, interrupted).Load();
  checkpoint.DropPages();
  return weights;
}

}  // namespace phalanx
