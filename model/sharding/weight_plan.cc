#include "model/sharding/weight_plan.h"

#include <string>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "model/checkpoint/tensor_names.h"

namespace phalanx {
namespace {

// A matrix that is a part of a tensor of `total_rows` rows, beginning at first_row: one of q, k and
// v, or of gate and up, which may be fused into one tensor.
struct Section {
  std::string tensor;  // The name without ".weight" or ".bias".
  int64_t total_rows = 0;
  int64_t first_row = 0;
};

class Planner {
 public:
  Planner(const Checkpoint& checkpoint, const ModelSpec& spec, const Shard& shard)
      : checkpoint_(checkpoint), spec_(spec), shard_(shard) {}

  WeightPlan Plan();
  std::vector<absl::Status> TakeProblems() { return std::move(problems_); }

 private:
  LayerPlan PlanLayer(int layer);
  void PlanQkv(const LayerNames& names, LayerPlan* plan);
  void PlanGateUp(const LayerNames& names, LayerPlan* plan);

  // The tensor, if it has that shape and a type that can be loaded. Otherwise null, and a problem
  // is added.
  const TensorView* Find(const std::string& name, int64_t rows, int64_t cols);
  TensorPart Rows(const Section& section, Range rows, bool rotary_heads);
  // Some columns of a matrix with `hidden` outputs.
  TensorPart Columns(const std::string& name, int64_t total_cols, Range cols);
  TensorPart Vocabulary(const std::string& name);
  TensorPart Vector(const std::string& name, int64_t elements, Range kept, bool rotary_heads);
  TensorPart Norm(const std::string& name) {
    return Vector(name, spec_.hidden, {0, spec_.hidden}, /*rotary_heads=*/false);
  }
  void RefuseOthers();

  Range Dims(Range heads) const {
    return {heads.begin * spec_.head_dim, heads.end * spec_.head_dim};
  }
  void Wrong(absl::string_view name, absl::string_view what) {
    problems_.push_back(
        absl::DataLossError(absl::StrCat(checkpoint_.path(), ": tensor ", name, ": ", what)));
  }

  const Checkpoint& checkpoint_;
  const ModelSpec& spec_;
  const Shard& shard_;
  // The names that have been asked for. A fused projection is asked for several times, and its
  // problem is to be told once.
  absl::flat_hash_set<std::string> asked_;
  std::vector<absl::Status> problems_;
};

Range Shifted(Range range, int64_t by) {
  return {static_cast<int>(range.begin + by), static_cast<int>(range.end + by)};
}

TensorType KeptType(const TensorView& tensor, Range cols) {
  // A block can only be read as a whole.
  const int block = TensorBlockElements(tensor.type);
  return cols.begin % block == 0 && cols.end % block == 0 ? tensor.type : TensorType::kF32;
}

const TensorView* Planner::Find(const std::string& name, int64_t rows, int64_t cols) {
  const bool is_new = asked_.insert(name).second;
  const TensorView* const tensor = checkpoint_.FindTensor(name);
  if (tensor == nullptr) {
    if (is_new) Wrong(name, "missing");
    return nullptr;
  }
  if (tensor->rows != rows || tensor->cols != cols) {
    if (is_new) {
      Wrong(name, absl::StrCat(tensor->rows, " rows of ", tensor->cols, " elements, where ", rows,
                               " of ", cols, " are expected"));
    }
    return nullptr;
  }
  if (TensorBlockElements(tensor->type) == 0) {
    if (is_new) {
      problems_.push_back(absl::UnimplementedError(
          absl::StrCat(checkpoint_.path(), ": tensor ", name, ": ", TensorTypeName(tensor->type),
                       " cannot be loaded; these can: ",
                       absl::StrJoin(kTensorTypes, ", ", [](std::string* out, TensorType type) {
                         absl::StrAppend(out, TensorTypeName(type));
                       }))));
    }
    return nullptr;
  }
  return tensor;
}

TensorPart Planner::Rows(const Section& section, Range rows, bool rotary_heads) {
  TensorPart part{.tensor = Find(section.tensor + ".weight", section.total_rows, spec_.hidden),
                  .first_row = section.first_row + rows.begin,
                  .num_rows = rows.size(),
                  .cols = {0, spec_.hidden},
                  .rotary_heads = rotary_heads};
  if (part.tensor != nullptr) part.kept_type = KeptType(*part.tensor, part.cols);
  return part;
}

TensorPart Planner::Columns(const std::string& name, int64_t total_cols, Range cols) {
  TensorPart part{.tensor = Find(name + ".weight", spec_.hidden, total_cols),
                  .num_rows = spec_.hidden,
                  .cols = cols};
  if (part.tensor != nullptr) part.kept_type = KeptType(*part.tensor, cols);
  return part;
}

TensorPart Planner::Vocabulary(const std::string& name) {
  TensorPart part{.tensor = Find(name, spec_.vocab, spec_.hidden),
                  .first_row = shard_.vocab.begin,
                  .num_rows = shard_.vocab.size(),
                  .cols = {0, spec_.hidden}};
  if (part.tensor != nullptr) part.kept_type = KeptType(*part.tensor, part.cols);
  return part;
}

TensorPart Planner::Vector(const std::string& name, int64_t elements, Range kept,
                           bool rotary_heads) {
  return {
      .tensor = Find(name, 1, elements), .num_rows = 1, .cols = kept, .rotary_heads = rotary_heads};
}

void Planner::PlanQkv(const LayerNames& names, LayerPlan* plan) {
  const int64_t q_rows = int64_t{spec_.num_q_heads} * spec_.head_dim;
  const int64_t kv_rows = int64_t{spec_.num_kv_heads} * spec_.head_dim;
  const bool fused = spec_.fused_projections;
  const int64_t all_rows = q_rows + 2 * kv_rows;
  const Section sections[] = {{names.q, fused ? all_rows : q_rows, 0},
                              {names.k, fused ? all_rows : kv_rows, fused ? q_rows : 0},
                              {names.v, fused ? all_rows : kv_rows, fused ? q_rows + kv_rows : 0}};
  const Range rows[] = {Dims(shard_.q_heads), Dims(shard_.kv_heads), Dims(shard_.kv_heads)};
  const bool rotary[] = {true, true, false};
  for (int i = 0; i < 3; ++i) plan->qkv.push_back(Rows(sections[i], rows[i], rotary[i]));
  if (!spec_.qkv_bias) return;
  for (int i = 0; i < 3; ++i) {
    plan->qkv_bias.push_back(Vector(sections[i].tensor + ".bias", sections[i].total_rows,
                                    Shifted(rows[i], sections[i].first_row), rotary[i]));
  }
}

void Planner::PlanGateUp(const LayerNames& names, LayerPlan* plan) {
  const bool fused = spec_.fused_projections;
  const int64_t total_rows = fused ? 2 * int64_t{spec_.ffn} : spec_.ffn;
  plan->gate = Rows({names.gate, total_rows, 0}, shard_.ffn, /*rotary_heads=*/false);
  plan->up =
      Rows({names.up, total_rows, fused ? spec_.ffn : 0}, shard_.ffn, /*rotary_heads=*/false);
}

LayerPlan Planner::PlanLayer(int layer) {
  const LayerNames names = NamesOfLayer(spec_, layer);
  LayerPlan plan;
  plan.attention_norm = Norm(names.attention_norm);
  PlanQkv(names, &plan);
  plan.attention_out = Columns(names.attention_out, int64_t{spec_.num_q_heads} * spec_.head_dim,
                               Dims(shard_.q_heads));
  plan.ffn_norm = Norm(names.ffn_norm);
  PlanGateUp(names, &plan);
  plan.down = Columns(names.down, spec_.ffn, shard_.ffn);
  return plan;
}

// A tensor that nobody has asked for, such as a bias or an adapter, means that the result would be
// wrong.
void Planner::RefuseOthers() {
  for (const TensorView& tensor : checkpoint_.tensors()) {
    if (asked_.contains(tensor.name) || IsNotOfTheNetwork(spec_, tensor.name)) continue;
    problems_.push_back(absl::UnimplementedError(absl::StrCat(
        checkpoint_.path(), ": tensor ", absl::CHexEscape(tensor.name), " is not supported")));
  }
}

WeightPlan Planner::Plan() {
  const NetworkNames names = NamesOfNetwork(spec_.tensor_naming);
  WeightPlan plan;
  plan.embedding = Vocabulary(names.embedding);
  plan.layers.reserve(spec_.num_layers);
  for (int layer = 0; layer < spec_.num_layers; ++layer) plan.layers.push_back(PlanLayer(layer));
  plan.final_norm = Norm(names.final_norm);
  if (!spec_.tied_embeddings) plan.output = Vocabulary(names.output);
  RefuseOthers();
  return plan;
}

}  // namespace

absl::StatusOr<WeightPlan> PlanWeights(const Checkpoint& checkpoint, const ModelSpec& spec,
                                       const Shard& shard, std::vector<absl::Status>* problems) {
  Planner planner(checkpoint, spec, shard);
  WeightPlan plan = planner.Plan();
  const std::vector<absl::Status> found = planner.TakeProblems();
  if (problems != nullptr) problems->insert(problems->end(), found.begin(), found.end());
  if (!found.empty()) return found.front();
  return plan;
}

const char* WeightFormName(WeightForm form) {
  switch (form) {
    case WeightForm::kFile:
      return "file";
    case WeightForm::kInt8:
      return "int8";
    case WeightForm::kInt4:
      return "int4";
  }
  return "";
}

void QuantizePlan(WeightForm form, WeightPlan* plan) {
  if (form == WeightForm::kFile) return;
  constexpr int kGroup = 32;
  const auto quantize = [](TensorPart& part, TensorType type) {
    const bool is_float = part.kept_type == TensorType::kF32 ||
                          part.kept_type == TensorType::kF16 || part.kept_type == TensorType::kBF16;
    // Columns that were cut out of a quantized block are kept in float32, to be exact.
    const bool was_float = part.tensor != nullptr && part.tensor->type == part.kept_type;
    if (is_float && was_float && part.cols.size() % kGroup == 0) part.kept_type = type;
  };
  const TensorType type = form == WeightForm::kInt8 ? TensorType::kQ8_0 : TensorType::kQ4_0;
  quantize(plan->embedding, TensorType::kQ8_0);
  quantize(plan->output, TensorType::kQ8_0);
  for (LayerPlan& layer : plan->layers) {
    for (TensorPart& part : layer.qkv) quantize(part, type);
    for (TensorPart* const part : {&layer.attention_out, &layer.gate, &layer.up, &layer.down}) {
      quantize(*part, type);
    }
  }
}

}  // namespace phalanx
