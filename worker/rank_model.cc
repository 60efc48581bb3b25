#include "worker/rank_model.h"

#include <atomic>
#include <future>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/cpu_set.h"
#include "base/log.h"
#include "base/status.h"
#include "model/checkpoint/weights_digest.h"
#include "model/sharding/shard.h"
#include "worker/weights/decoder_weights.h"

namespace phalanx {

namespace {

// Makes the digest on a thread of its own, while the weights are packed. Packing takes longer than
// reading, so from a cold disk this thread reads ahead of it.
class BackgroundDigest {
 public:
  BackgroundDigest(const Checkpoint& checkpoint, const std::function<bool()>& interrupted)
      : digest_(std::async(std::launch::async, [this, &checkpoint, &interrupted] {
          return WeightsDigest(checkpoint.weight_data(),
                               [&] { return abandoned_ || (interrupted && interrupted()); });
        })) {}
  ~BackgroundDigest() { abandoned_ = true; }

  absl::StatusOr<std::string> Take() { return digest_.get(); }

 private:
  std::atomic<bool> abandoned_ = false;
  // Its destructor waits for the thread, and is called after that of this class has set abandoned_.
  std::future<absl::StatusOr<std::string>> digest_;
};

}  // namespace

absl::StatusOr<RankModel> LoadRankModel(const Checkpoint& checkpoint, const ModelSpec& spec,
                                        const StepLimits& limits, kernels::Backend* backend,
                                        Communicator* comm, absl::Duration step_timeout,
                                        WeightForm form, const std::function<bool()>& interrupted) {
  RankModel model;
  ASSIGN_OR_RETURN(const Shard shard, ShardModel(spec, comm->rank(), comm->world()));
  BackgroundDigest digest(checkpoint, interrupted);
  // So that each part of the weights is packed, and its memory taken, where it will be read.
  const ScopedCpuPin pin(backend->calling_cpus());
  ASSIGN_OR_RETURN(DecoderWeights weights,
                   LoadDecoderWeights(checkpoint, spec, shard, *backend, interrupted, form));
  ASSIGN_OR_RETURN(model.weights_digest, digest.Take());
  if (form != WeightForm::kFile) {
    // Other numbers than those of ranks and groups that keep the file's.
    absl::StrAppend(&model.weights_digest, "-", WeightFormName(form));
    LOG(INFO) << "weights quantized to " << WeightFormName(form) << ": they changed by "
              << absl::StrFormat("%.2f %%", 100 * weights.quantization_error)
              << " of their size (root mean square)";
  }
  const kernels::KvDType kv_cache = backend->kv_cache_dtype();
  if (kernels::HasKvScales(kv_cache)) {
    absl::StrAppend(&model.weights_digest, "-kv_", kernels::KvDTypeName(kv_cache));
  }
  checkpoint.DropPages();
  model.weight_bytes = weights.bytes;
  if (weights.output != nullptr) model.lookup_bytes = weights.embedding->bytes();
  // Its memory is taken now. Where the system kills instead of refusing, this line tells why.
  LOG(INFO) << "taking the memory of a KV cache of "
            << int64_t{limits.kv_blocks} * kernels::kKvBlockTokens << " tokens (--kv_cache_tokens)";
  absl::StatusOr<std::unique_ptr<Decoder>> decoder =
      Decoder::Create(spec, shard, std::move(weights), limits, backend, comm, step_timeout);
  if (absl::IsResourceExhausted(decoder.status())) {
    return absl::ResourceExhaustedError(
        absl::StrCat(decoder.status().message(),
                     "; give a smaller --kv_cache_tokens, --max_step_tokens or --max_seqs"));
  }
  ASSIGN_OR_RETURN(model.decoder, std::move(decoder));
  constexpr size_t kMiB = size_t{1} << 20;
  LOG(INFO) << "rank " << shard.rank << " of " << shard.world << ": " << shard.q_heads.size()
            << " query and " << shard.kv_heads.size() << " KV heads, " << shard.ffn.size()
            << " FFN columns, " << shard.vocab.size() << " vocabulary rows; weights "
            << model.weight_bytes / kMiB << " MiB, KV cache "
            << model.decoder->kv_arena_bytes() / kMiB << " MiB in "
            << kernels::KvDTypeName(kv_cache) << ", activations "
            << model.decoder->activation_bytes() / kMiB << " MiB; " << backend->Describe()
            << ", determinism " << kernels::DeterminismName(backend->determinism())
            << "; digest of all weights " << model.weights_digest;
  return model;
}

}  // namespace phalanx
