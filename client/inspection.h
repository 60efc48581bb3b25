// What `phalanx inspect` finds out about a model on disk.
#ifndef PHALANX_CLIENT_INSPECTION_H_
#define PHALANX_CLIENT_INSPECTION_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/generation/generation_defaults.h"
#include "model/sharding/kv_type.h"
#include "model/sharding/shard.h"
#include "model/spec/spec.h"
#include "model/text/tokenizer_assets.h"

namespace phalanx {

// What the model would be served on.
enum class InspectedDevice { kCpu, kCuda };

// What that device keeps keys and values in unless it is told.
constexpr KvType DefaultKvType(InspectedDevice device) {
  return device == InspectedDevice::kCuda ? kGpuKvType : kCpuKvType;
}

// The memory of one rank: on CPUs, see model/sharding/cpu_memory.h; on GPUs, gpu_memory.h.
struct RankMemory {
  Shard shard;
  int64_t weight_bytes = 0;
  int64_t kv_bytes_per_token = 0;
  // On a GPU: what the kernels work in, and what is kept between them; what CUDA and NCCL take, an
  // estimate; and the tokens of the KV cache that the rest has room for.
  int64_t step_bytes = 0;
  int64_t reserved_bytes = 0;
  int64_t kv_cache_tokens = 0;
  // The longest context that this rank's memory has room for beside its weights, which is at most
  // the model's.
  int longest_context_tokens = 0;
};

// What is known of a model. Of one that would be refused, as much as could be read.
struct Inspection {
  std::string path;
  bool is_gguf = false;
  // Counts all tensors in the files but those that hold nothing of the network.
  int64_t parameters = 0;
  int num_tensors = 0;
  int64_t tensor_bytes = 0;
  std::map<std::string, int> tensors_of_type;

  std::string architecture;  // Known even where there is no spec.
  std::optional<ModelSpec> spec;
  std::string fingerprint;
  std::optional<GenerationDefaults> defaults;
  std::optional<TokenizerAssets> tokenizer;

  InspectedDevice device = InspectedDevice::kCpu;
  KvType kv_type = kCpuKvType;
  int world = 1;
  int64_t memory_bytes = 0;        // Of each rank.
  std::vector<RankMemory> ranks;   // Empty if the model cannot be cut or loaded.
  int64_t kv_bytes_per_token = 0;  // Of all ranks together.

  // Why servers would not serve it; empty if they would.
  std::vector<std::string> refused;

  // The longest context of the rank with the least room, 0 without ranks.
  int longest_context_tokens() const;
  // On GPUs: the KV cache of the group, which is that of the rank with the least room; 0 without
  // ranks.
  int64_t kv_cache_tokens() const;
};

// How many sequences of these many tokens a GPU's memory holds is told.
inline constexpr int kSequenceTokens[] = {4096, 32768, 131072};

// Looks at the model at `path`, cut over `world` ranks of `memory_bytes` each, which on GPUs is the
// memory of the GPU, with keys and values kept in `kv_type`, which on CPUs is not kFp8. Neither
// weights nor a server nor a GPU is needed. The errors of
// Checkpoint::Open for a path that holds no model: NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE,
// INVALID_ARGUMENT. All else that is wrong is in `refused`.
absl::StatusOr<Inspection> InspectModel(const std::string& path, InspectedDevice device,
                                        KvType kv_type, int world, int64_t memory_bytes);

}  // namespace phalanx

#endif  // PHALANX_CLIENT_INSPECTION_H_
