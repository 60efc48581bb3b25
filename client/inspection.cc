#include "client/inspection.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/bytes_text.h"
#include "base/status.h"
#include "model/checkpoint/checkpoint.h"
#include "model/checkpoint/tensor_names.h"
#include "model/files/gguf_split.h"
#include "model/files/json.h"
#include "model/files/safetensors.h"
#include "model/sharding/cpu_memory.h"
#include "model/sharding/gpu_memory.h"
#include "model/sharding/weight_plan.h"
#include "model/text/tokenizer_assets_gguf.h"

namespace phalanx {
namespace {

// Adds the message of an error once: each rank may find the same.
void Refuse(const absl::Status& status, Inspection* found) {
  if (status.ok()) return;
  std::string reason(status.message());
  std::vector<std::string>& refused = found->refused;
  if (std::find(refused.begin(), refused.end(), reason) == refused.end()) {
    refused.push_back(std::move(reason));
  }
}

// Whether an error of Checkpoint::Open tells that there is a model, though one that cannot be
// served.
bool IsOfTheModel(const absl::Status& status) {
  return absl::IsDataLoss(status) || absl::IsUnimplemented(status);
}

void AddTensors(absl::Span<const TensorView> tensors, Inspection* found) {
  for (const TensorView& tensor : tensors) {
    ++found->num_tensors;
    ++found->tensors_of_type[TensorTypeName(tensor.type)];
    found->tensor_bytes += static_cast<int64_t>(tensor.data.size());
    if (found->spec && IsNotOfTheNetwork(*found->spec, tensor.name)) continue;
    found->parameters += tensor.rows * tensor.cols;
  }
}

void SetTokenizer(absl::StatusOr<TokenizerAssets> tokenizer, Inspection* found) {
  if (tokenizer.ok()) {
    found->tokenizer = *std::move(tokenizer);
  } else {
    Refuse(tokenizer.status(), found);
  }
}

// Reads the parts of a GGUF model whose network cannot be served, so that they can be shown
// nevertheless.
void ReadPartsOfGguf(Inspection* found) {
  const auto files = OpenGgufFiles(found->path);
  if (!files.ok()) return Refuse(files.status(), found);
  const GgufFile& first = *files->front();
  const auto architecture = first.GetString("general.architecture");
  if (architecture.ok()) found->architecture = std::string(*architecture);
  for (const std::unique_ptr<GgufFile>& file : *files) AddTensors(file->tensors(), found);
  found->defaults = ReadGenerationDefaults(first);
  Refuse(CheckUnfollowed(*found->defaults, {}), found);
  SetTokenizer(ReadTokenizerAssets(first), found);
}

void ReadPartsOfFolder(Inspection* found) {
  const auto config = ReadJsonFile(absl::StrCat(found->path, "/config.json"));
  if (!config.ok()) return Refuse(config.status(), found);
  const JsonValue* const type = config->Find("model_type");
  if (type != nullptr && type->AsString() != nullptr) found->architecture = *type->AsString();
  const auto files = OpenSafetensorsFolder(found->path);
  if (!files.ok()) return Refuse(files.status(), found);
  for (const std::unique_ptr<SafetensorsFile>& file : *files) AddTensors(file->tensors(), found);
}

RankMemory MemoryOnCpu(const ModelSpec& spec, const Shard& shard, const WeightPlan& plan,
                       KvType kv_type, int64_t memory_bytes) {
  const int kv_heads = shard.kv_heads.size();
  const int64_t weight_bytes = CpuWeightBytes(plan);
  return {.shard = shard,
          .weight_bytes = weight_bytes,
          .kv_bytes_per_token = CpuKvBytesPerToken(spec, kv_heads, kv_type),
          .longest_context_tokens =
              LongestContextTokens(spec, kv_heads, kv_type, memory_bytes - weight_bytes)};
}

RankMemory MemoryOnGpu(const ModelSpec& spec, const Shard& shard, const WeightPlan& plan,
                       KvType kv_type, int64_t memory_bytes) {
  const int kv_heads = shard.kv_heads.size();
  const GpuStepLimits limits;
  RankMemory rank{.shard = shard,
                  .weight_bytes = GpuWeightBytes(plan),
                  .kv_bytes_per_token = GpuKvBytesPerToken(spec, kv_heads, kv_type),
                  .step_bytes = GpuWorkspaceBytes(spec, shard, limits) +
                                GpuActivationBytes(spec, shard, limits),
                  .reserved_bytes = GpuReservedBytes(shard)};
  rank.kv_cache_tokens =
      GpuKvCacheTokens(spec, kv_heads, kv_type,
                       memory_bytes - rank.weight_bytes - rank.step_bytes - rank.reserved_bytes);
  rank.longest_context_tokens =
      static_cast<int>(std::min<int64_t>(rank.kv_cache_tokens, spec.context_tokens));
  return rank;
}

void PlanRanks(const Checkpoint& checkpoint, Inspection* found) {
  const ModelSpec& spec = *found->spec;
  const auto first = ShardModel(spec, 0, found->world);
  if (!first.ok()) Refuse(first.status(), found);
  // The tensors are checked for one rank. What is wrong with them does not depend on the number of
  // ranks, and is to be told even if the model cannot be cut over `world` ranks.
  const auto whole = ShardModel(spec, 0, 1);
  if (!whole.ok()) return Refuse(whole.status(), found);
  std::vector<absl::Status> problems;
  const absl::Status planned = PlanWeights(checkpoint, spec, *whole, &problems).status();
  for (const absl::Status& problem : problems) Refuse(problem, found);
  if (found->device == InspectedDevice::kCuda && spec.head_dim > kGpuMaxHeadDim) {
    found->refused.push_back(absl::StrCat("attention heads of ", spec.head_dim,
                                          " dimensions: a GPU takes at most ", kGpuMaxHeadDim));
  }
  if (!planned.ok() || !first.ok()) return;

  for (int rank = 0; rank < found->world; ++rank) {
    const auto shard = ShardModel(spec, rank, found->world);
    if (!shard.ok()) return Refuse(shard.status(), found);
    const auto plan = PlanWeights(checkpoint, spec, *shard);
    if (!plan.ok()) return Refuse(plan.status(), found);
    found->ranks.push_back(
        found->device == InspectedDevice::kCuda
            ? MemoryOnGpu(spec, *shard, *plan, found->kv_type, found->memory_bytes)
            : MemoryOnCpu(spec, *shard, *plan, found->kv_type, found->memory_bytes));
    const RankMemory& memory = found->ranks.back();
    if (memory.longest_context_tokens > 0) continue;
    const int64_t beside = memory.step_bytes + memory.reserved_bytes;
    found->refused.push_back(
        absl::StrCat("rank ", rank, ": weights of ", BytesText(memory.weight_bytes),
                     beside > 0 ? absl::StrCat(", and ", BytesText(beside), " beside them,") : "",
                     " leave no room for a context in ", BytesText(found->memory_bytes)));
  }
}

}  // namespace

int Inspection::longest_context_tokens() const {
  if (ranks.empty()) return 0;
  return std::min_element(ranks.begin(), ranks.end(),
                          [](const RankMemory& a, const RankMemory& b) {
                            return a.longest_context_tokens < b.longest_context_tokens;
                          })
      ->longest_context_tokens;
}

int64_t Inspection::kv_cache_tokens() const {
  if (ranks.empty()) return 0;
  return std::min_element(ranks.begin(), ranks.end(),
                          [](const RankMemory& a, const RankMemory& b) {
                            return a.kv_cache_tokens < b.kv_cache_tokens;
                          })
      ->kv_cache_tokens;
}

absl::StatusOr<Inspection> InspectModel(const std::string& path, InspectedDevice device,
                                        KvType kv_type, int world, int64_t memory_bytes) {
  Inspection found;
  found.path = path;
  found.device = device;
  found.kv_type = kv_type;
  found.world = world;
  found.memory_bytes = memory_bytes;
  std::error_code ignored;
  found.is_gguf = !std::filesystem::is_directory(path, ignored);
  const auto checkpoint = Checkpoint::Open(path);
  if (!checkpoint.ok()) {
    if (!IsOfTheModel(checkpoint.status())) return checkpoint.status();
    Refuse(checkpoint.status(), &found);
    found.is_gguf ? ReadPartsOfGguf(&found) : ReadPartsOfFolder(&found);
    return found;
  }
  found.spec = (*checkpoint)->spec();
  found.architecture = found.spec->architecture;
  found.fingerprint = (*checkpoint)->fingerprint();
  found.defaults = (*checkpoint)->generation_defaults();
  Refuse(CheckUnfollowed(*found.defaults, {}), &found);
  const int kv_heads = found.spec->num_kv_heads;
  found.kv_bytes_per_token = device == InspectedDevice::kCuda
                                 ? GpuKvBytesPerToken(*found.spec, kv_heads, kv_type)
                                 : CpuKvBytesPerToken(*found.spec, kv_heads, kv_type);
  AddTensors((*checkpoint)->tensors(), &found);
  SetTokenizer((*checkpoint)->ReadTokenizer(), &found);
  PlanRanks(**checkpoint, &found);
  return found;
}

}  // namespace phalanx
