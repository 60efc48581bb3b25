#include "worker/model/decoder.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/status.h"
#include "worker/model/activations.h"
#include "worker/model/collectives.h"
#include "worker/model/forward_pass.h"
#include "worker/model/sharded_sampler.h"
#include "worker/model/step_exchange.h"
#include "worker/step/check_step.h"
#include "worker/step/pad_step.h"

namespace phalanx {
namespace {

using kernels::Backend;
using kernels::Buffer;
using kernels::DType;
using kernels::KvCache;
using kernels::SamplingBatch;
using kernels::StepBatch;
using kernels::Stream;
using kernels::Tensor;

class ShardedDecoder final : public Decoder {
 public:
  ShardedDecoder(const ModelSpec& spec, const Shard& shard, DecoderWeights weights,
                 const StepLimits& limits, Backend* backend, Communicator* comm,
                 absl::Duration step_timeout)
      : spec_(spec),
        shard_(shard),
        limits_(limits),
        weights_(std::move(weights)),
        backend_(*backend),
        step_timeout_(step_timeout),
        stream_(backend->NewStream()),
        collectives_(comm, stream_.get()),
        checker_(limits, spec.vocab, spec.rope.num_lists()) {}

  // The part of Create that can fail: AllocateCache, then Init.
  absl::Status AllocateCache();
  absl::Status Init();

  void Abort() override { stream_->Abort(); }
  absl::Status LaunchForward(const StepBlock& forward) override;
  absl::Status LaunchSampling(const SamplingBlock& block) override;
  absl::StatusOr<StepResult> Await() override;
  bool launches_ahead() const override { return backend_.is_asynchronous(); }
  absl::Span<const int> calling_cpus() const override { return backend_.calling_cpus(); }
  uint64_t progress() const override { return progress_.load(std::memory_order_relaxed); }
  size_t kv_arena_bytes() const override { return cache_->bytes(); }
  size_t activation_bytes() const override { return act_.memory->bytes() + act_.workspace_bytes; }

 private:
  absl::StatusOr<std::unique_ptr<Decoder>> MoveTo(Communicator* comm) override;
  absl::Status RecordForwardPasses();
  std::optional<StepBlock> FillUp(const StepBlock& block) const;
  // A forward pass of decodes of one size.
  struct StepRecording {
    uint64_t comm_bytes = 0;  // Those of one run.
    std::unique_ptr<kernels::Recording> plain;
    // The same with its collectives timed; null in a rank alone.
    std::unique_ptr<kernels::SpanTimer> timer;
    std::unique_ptr<kernels::Recording> timed;
  };
  absl::Status RecordForwardPass(const StepBatch& batch, StepRecording& recording);
  // Begins to time the collectives of a step that is launched, if it is the turn of one.
  void BeginTiming();
  bool times_this_step() const { return !step_timers_.empty(); }
  // All of a step but its logits, by the recording for its size if there is one.
  absl::Status ComputeHidden(const StepBatch& batch);

  // What follows the forward pass, in the order in which a step runs it.
  Tensor ComputeLogits(const StepBatch& batch, const int32_t* rows, int num_rows);
  absl::Status DrawTokens(const StepBatch& batch, const SamplingBatch& sampling);
  absl::Status ScoreTokens(const StepBatch& batch, const SamplingBatch& sampling);

  // See ForwardPass.
  void Mark() { progress_.fetch_add(1, std::memory_order_relaxed); }

  const ModelSpec spec_;
  const Shard shard_;
  const StepLimits limits_;
  DecoderWeights weights_;
  Backend& backend_;
  const absl::Duration step_timeout_;
  std::unique_ptr<Stream> stream_;
  Collectives collectives_;
  std::unique_ptr<KvCache> cache_;
  Activations act_;
  std::optional<ForwardPass> forward_;
  std::optional<ShardedSampler> sampler_;
  StepChecker checker_;
  std::unique_ptr<StepExchange> exchange_;
  StepBatch batch_;  // The forward part that was launched last.
  // By number of sequences.
  std::map<int, StepRecording> recordings_;
  uint64_t recorded_progress_ = 0;  // What one of these adds to progress_.
  std::atomic<uint64_t> progress_{0};
  // Times the collectives that are not recorded; null in a rank alone, and where the host's clock
  // does. Of the steps in flight at most one is timed.
  std::unique_ptr<kernels::SpanTimer> timer_;
  int step_of_round_ = 0;                         // Of kTimedSteps, the first of which is timed.
  std::vector<kernels::SpanTimer*> step_timers_;  // Of the step that is launched, if it is timed.
  uint64_t replayed_bytes_ = 0;                   // Of the step that is launched.
};

absl::Status ShardedDecoder::AllocateCache() {
  const KvCache::Shape shape = KvCacheShape(spec_, shard_, NumKvCacheBlocks(limits_), backend_);
  absl::StatusOr<std::unique_ptr<KvCache>> cache = backend_.AllocateKvCache(shape);
  if (!cache.ok()) {
    return absl::Status(
        cache.status().code(),
        absl::StrCat("no KV cache of ", int64_t{limits_.kv_blocks} * kernels::kKvBlockTokens,
                     " tokens: ", cache.status().message()));
  }
  cache_ = *std::move(cache);
  return absl::OkStatus();
}

absl::Status ShardedDecoder::Init() {
  ASSIGN_OR_RETURN(act_, AllocateActivations(spec_, shard_, limits_, backend_));
  forward_.emplace(spec_, shard_,
                   ForwardPass::Parts{.weights = &weights_,
                                      .activations = &act_,
                                      .cache = cache_.get(),
                                      .backend = &backend_,
                                      .stream = stream_.get(),
                                      .collectives = &collectives_,
                                      .progress = &progress_});
  sampler_.emplace(act_.sampler, &backend_, stream_.get(), &collectives_);
  ASSIGN_OR_RETURN(exchange_,
                   StepExchange::Create(limits_, spec_.vocab, &act_, &backend_, stream_.get()));
  RETURN_IF_ERROR(forward_->UploadInverseFrequencies());
  if (shard_.world > 1) timer_ = backend_.NewSpanTimer();
  if (timer_ != nullptr) collectives_.TimeBy(nullptr);
  return RecordForwardPasses();
}

// One for each size that decodes are filled up to. Its arguments are those of every later step of
// that size, since all memory stays where it is; table entries are taken apart from it.
absl::Status ShardedDecoder::RecordForwardPasses() {
  if (!backend_.can_record()) return absl::OkStatus();
  for (int num_seqs = 1; num_seqs <= limits_.max_seqs; ++num_seqs) {
    num_seqs = std::min(backend_.DecodeBatchSize(num_seqs), limits_.max_seqs);
    const StepBatch batch = exchange_->BatchOf({.num_tokens = num_seqs, .num_seqs = num_seqs});
    RETURN_IF_ERROR(RecordForwardPass(batch, recordings_[num_seqs]));
  }
  return absl::OkStatus();
}

absl::Status ShardedDecoder::RecordForwardPass(const StepBatch& batch, StepRecording& recording) {
  const auto record = [&] {
    return backend_.Record(*stream_, [&] { return forward_->Run(batch); });
  };
  const uint64_t before = progress();
  collectives_.Restart();
  ASSIGN_OR_RETURN(recording.plain, record());
  recording.comm_bytes = collectives_.bytes();
  recorded_progress_ = progress() - before;
  if (timer_ == nullptr) return absl::OkStatus();
  // Looking at the clock takes time and keeps kernels from overlapping, so most steps run without.
  recording.timer = backend_.NewSpanTimer();
  collectives_.TimeBy(recording.timer.get());
  ASSIGN_OR_RETURN(recording.timed, record());
  collectives_.TimeBy(nullptr);
  return absl::OkStatus();
}

// The block with rows added to it, if the backend wants more than it has.
std::optional<StepBlock> ShardedDecoder::FillUp(const StepBlock& block) const {
  const kernels::StepCounts counts = block.counts();
  if (!IsDecodeOnly(counts)) return std::nullopt;
  const int num_seqs = std::min(backend_.DecodeBatchSize(counts.num_seqs), limits_.max_seqs);
  if (num_seqs <= counts.num_seqs) return std::nullopt;
  // The row of block_tables after those of the slots; it is never written, so it stays zero, which
  // is kPaddingBlock.
  static_assert(kernels::kPaddingBlock == 0);
  return PadDecodes(block, num_seqs, /*padding_slot=*/limits_.max_seqs);
}

absl::Status ShardedDecoder::LaunchForward(const StepBlock& forward) {
  RETURN_IF_ERROR(checker_.CheckForward(forward));
  BeginTiming();
  exchange_->Begin();
  const std::optional<StepBlock> padded = FillUp(forward);
  batch_ = exchange_->Upload(padded.has_value() ? *padded : forward);
  backend_.UpdateBlockTables(*stream_, batch_);
  return ComputeHidden(batch_);
}

absl::Status ShardedDecoder::LaunchSampling(const SamplingBlock& block) {
  RETURN_IF_ERROR(checker_.CheckSampling(block));
  const SamplingBatch sampling = exchange_->Upload(block);
  // All ranks run both, in the same order: each has a part in every row, and collectives must
  // match.
  RETURN_IF_ERROR(ScoreTokens(batch_, sampling));
  RETURN_IF_ERROR(DrawTokens(batch_, sampling));
  exchange_->End({.bytes = collectives_.bytes() + replayed_bytes_,
                  .known = collectives_.time(),
                  .timers = step_timers_});
  return absl::OkStatus();
}

void ShardedDecoder::BeginTiming() {
  collectives_.Restart();
  replayed_bytes_ = 0;
  step_timers_.clear();
  if (timer_ == nullptr) return;
  const bool is_timed = step_of_round_ == 0;
  step_of_round_ = (step_of_round_ + 1) % kTimedSteps;
  if (is_timed) {
    timer_->Clear();
    step_timers_.push_back(timer_.get());
  }
  collectives_.TimeBy(is_timed ? timer_.get() : nullptr);
}

absl::StatusOr<StepResult> ShardedDecoder::Await() {
  ASSIGN_OR_RETURN(StepResult result, exchange_->Await(step_timeout_));
  RETURN_IF_ERROR(collectives_.CheckQueued());
  Mark();
  return result;
}

absl::Status ShardedDecoder::ComputeHidden(const StepBatch& batch) {
  const auto recording = recordings_.find(batch.num_seqs);
  if (!IsDecodeOnly(batch) || recording == recordings_.end()) return forward_->Run(batch);
  const StepRecording& recorded = recording->second;
  if (times_this_step()) step_timers_.push_back(recorded.timer.get());
  backend_.Replay(*stream_, times_this_step() ? *recorded.timed : *recorded.plain);
  replayed_bytes_ = recorded.comm_bytes;
  progress_.fetch_add(recorded_progress_, std::memory_order_relaxed);
  return absl::OkStatus();
}

// This rank's columns of the output matrix times hidden, for the tokens that `rows` names.
Tensor ShardedDecoder::ComputeLogits(const StepBatch& batch, const int32_t* rows, int num_rows) {
  const Tensor logit_hidden = FirstRows(act_.logit_hidden, num_rows);
  const Tensor local_logits = FirstRows(act_.local_logits, num_rows);
  backend_.GatherRows(*stream_, rows, FirstRows(act_.hidden, batch.num_tokens), logit_hidden);
  backend_.Linear(*stream_, logit_hidden, weights_.logits(), /*bias=*/{}, local_logits);
  Mark();
  return local_logits;
}

absl::Status ShardedDecoder::DrawTokens(const StepBatch& batch, const SamplingBatch& sampling) {
  const int num_rows = sampling.num_logit_rows;
  if (num_rows == 0) return absl::OkStatus();
  const Tensor logits = ComputeLogits(batch, sampling.logit_rows, num_rows);
  if (sampling.wants_adjustment) {
    backend_.AdjustLogits(*stream_, sampling, logits, shard_.vocab.begin);
  }
  if (shard_.world > 1) {
    RETURN_IF_ERROR(sampler_->Draw(sampling, logits, act_.tokens));
  } else {
    backend_.Sample(*stream_, sampling, logits, act_.tokens);
  }
  // The next step may name these tokens by their slots.
  backend_.StoreLastTokens(*stream_, sampling, act_.tokens, act_.last_tokens);
  exchange_->DownloadTokens(num_rows);
  if (sampling.log_probs == kernels::kNoLogProbs) return absl::OkStatus();
  // Log-probabilities are those of the model, before any adjustment. Steps that want both are rare
  // enough to make the logits twice.
  if (sampling.wants_adjustment) ComputeLogits(batch, sampling.logit_rows, num_rows);
  RETURN_IF_ERROR(sampler_->Describe(logits, act_.tokens, sampling.log_probs));
  exchange_->DownloadDrawnLogProbs(num_rows, sampling.log_probs);
  return absl::OkStatus();
}

// There is memory for the logits of max_seqs rows only, so more are done in slices. A prompt may
// want the score of each of its tokens.
absl::Status ShardedDecoder::ScoreTokens(const StepBatch& batch, const SamplingBatch& sampling) {
  const int num_rows = sampling.num_score_rows;
  if (num_rows == 0) return absl::OkStatus();
  for (int first = 0; first < num_rows; first += limits_.max_seqs) {
    const int rows = std::min(limits_.max_seqs, num_rows - first);
    const Tensor logits = ComputeLogits(batch, sampling.score_rows + first, rows);
    const int32_t* const targets = sampling.score_targets + first;
    if (shard_.world > 1) {
      RETURN_IF_ERROR(sampler_->Score(logits, targets, act_.log_probs + first));
    } else {
      backend_.TokenLogProbs(*stream_, logits, targets, act_.log_probs + first);
    }
  }
  exchange_->DownloadLogProbs(num_rows);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Decoder>> ShardedDecoder::MoveTo(Communicator* comm) {
  // There is memory for the activations of one decoder only. Recordings use them, and all that is
  // below uses the stream.
  recordings_.clear();
  timer_.reset();
  exchange_.reset();
  sampler_.reset();
  forward_.reset();
  act_ = Activations();
  auto decoder = std::make_unique<ShardedDecoder>(spec_, shard_, std::move(weights_), limits_,
                                                  &backend_, comm, step_timeout_);
  decoder->cache_ = std::move(cache_);
  RETURN_IF_ERROR(decoder->Init());
  return decoder;
}

absl::Status CheckLimits(const StepLimits& limits) {
  const bool good = limits.max_step_tokens >= 1 && limits.max_seqs >= 1 &&
                    limits.max_blocks_per_seq >= 1 && limits.kv_blocks >= 1;
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("step limits must be at least 1: ", limits.max_step_tokens, " tokens, ",
                   limits.max_seqs, " sequences, ", limits.max_blocks_per_seq,
                   " blocks a sequence, ", limits.kv_blocks, " blocks"));
}

}  // namespace

absl::Status Decoder::Launch(const Step& step) {
  RETURN_IF_ERROR(LaunchForward(step.forward));
  return LaunchSampling(step.sampling);
}

absl::StatusOr<StepResult> Decoder::Run(const Step& step) {
  RETURN_IF_ERROR(Launch(step));
  return Await();
}

absl::StatusOr<std::unique_ptr<Decoder>> Decoder::Create(const ModelSpec& spec, const Shard& shard,
                                                         DecoderWeights weights,
                                                         const StepLimits& limits, Backend* backend,
                                                         Communicator* comm,
                                                         absl::Duration step_timeout) {
  RETURN_IF_ERROR(CheckLimits(limits));
  auto decoder = std::make_unique<ShardedDecoder>(spec, shard, std::move(weights), limits, backend,
                                                  comm, step_timeout);
  RETURN_IF_ERROR(decoder->AllocateCache());
  RETURN_IF_ERROR(decoder->Init());
  return decoder;
}

absl::StatusOr<std::unique_ptr<Decoder>> Decoder::Rejoin(std::unique_ptr<Decoder> old,
                                                         Communicator* comm) {
  return old->MoveTo(comm);
}

}  // namespace phalanx
