// The op contract: what a backend (reference, cpu, later cuda) must provide so that one forward
// pass in worker/model runs on all of them.
//
// Rules for every op:
//  * It is a call on a Stream. Ops of one stream take effect in call order. A backend may return
//    before the work is done; the caller waits with Stream::Synchronize, once a step. On the CPU
//    backends an op is done when it returns.
//  * It allocates nothing and never waits for the host: everything that varies from step to step
//    is read from backend memory through StepBatch and SamplingBatch. What an op keeps for its own
//    use while it runs lies in the backend's workspace, which Backend::Reserve makes.
//  * Activations are row-major and dense, [rows, cols]. The residual is in the backend's
//    residual_dtype, the other activations are in its activation_dtype; norm weights, biases,
//    cosines and sines, and logits are float32. Where an op says nothing of types, it is by this
//    rule. Ops compute in float32 or better, and round to nearest even where they store.
//  * The data of a Tensor is aligned to kTensorAlignment, and a backend ends the process if it is
//    not (check_tensors.h). Rows after the first lie where `cols` puts them. Arrays that are passed
//    as plain pointers (those of the batches, token ids, log-probabilities) are aligned as their
//    elements demand and no further, since callers pass slices of them.
//  * Arguments do not alias unless the op says so.
//  * At Determinism::kStrict, results do not depend on which other rows are in the batch: row i of
//    a product is the same bits whatever num_tokens is. See Determinism.
//  * Ops cannot fail for reasons the caller could mend; a device fault shows at Synchronize.
//    Arguments outside the contract are bugs of the caller.
//
// All ops are listed in op_list.h. Dimensions as in ARCHITECTURE.md; `local_` parts are this
// rank's.
#ifndef PHALANX_KERNELS_OPS_H_
#define PHALANX_KERNELS_OPS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "kernels/dtype.h"
#include "kernels/kv_dtype.h"
#include "kernels/sample_shard.h"
#include "kernels/step_batch.h"
#include "kernels/tensor.h"

namespace phalanx::kernels {

// What a backend promises about the bits of its results, beside their accuracy.
enum class Determinism {
  // The bits of a row depend on its inputs, the weights and Backend::Arithmetic alone. Reductions
  // are cut into a number of parts, and these are added in an order, that depend on the layer and
  // never on the batch: not on num_tokens or num_seqs, nor on where in the batch a row is, nor on
  // how a prompt was cut into steps. So an answer is the same alone and under load, and goes on the
  // same after it was preempted or resumed elsewhere.
  kStrict,
  // The bits of a row may depend on the batch too, since algorithms are chosen by its size. The
  // same batch gives the same bits again. Answers can differ with the load where two tokens are
  // about equally likely.
  kFast,
};

// "strict" or "fast".
constexpr const char* DeterminismName(Determinism determinism) {
  return determinism == Determinism::kStrict ? "strict" : "fast";
}

// Orders ops. Engine thread only, but for Abort.
class Stream {
 public:
  virtual ~Stream() = default;

  // Blocks until all ops so far are done. DEADLINE_EXCEEDED if they are not within `timeout`, for
  // example because a peer on another device does not come: the ops may still run then, so their
  // memory must not be used. ABORTED after Abort. INTERNAL after a device fault; the backend is
  // then lost.
  virtual absl::Status Synchronize(absl::Duration timeout) = 0;
  absl::Status Synchronize() { return Synchronize(absl::InfiniteDuration()); }

  // Remembers the place after all ops so far under `mark`, a number below kMarks, in place of what
  // it stood for. AwaitMark is Synchronize for the ops before that place: those after it may run
  // on.
  static constexpr int kMarks = 2;
  virtual void Mark(int mark) {}
  virtual absl::Status AwaitMark(int mark, absl::Duration timeout) { return Synchronize(timeout); }

  // Makes a blocked Synchronize or AwaitMark and all later ones return ABORTED. Any thread, any
  // number of times.
  virtual void Abort() = 0;
};

// Measures how long spans of ops take, from when the backend comes to the first op of a span until
// it is done with the last one: by its own clock, which runs on while an op waits for another
// device. Measuring costs time, so it is meant for some steps only. Engine thread only.
class SpanTimer {
 public:
  virtual ~SpanTimer() = default;

  // Forgets the spans so far, which must have been awaited.
  virtual void Clear() = 0;
  // The ops of `stream` that are called between these two are a span. Spans do not overlap. In
  // Backend::Record a span becomes part of the recording, which measures it anew each time that it
  // runs; the timer must outlive the recording, and must not be cleared.
  virtual void Begin(Stream& stream) = 0;
  virtual void End(Stream& stream) = 0;
  // The sum of the times of all spans, which must have been awaited; of recorded ones, the times of
  // the last run, of which there must have been one. Does not block. INTERNAL after a device fault
  // and if a span could not be measured.
  virtual absl::StatusOr<absl::Duration> Total() = 0;
};

// A piece of backend memory, aligned to kTensorAlignment, zeroed when made.
class Buffer {
 public:
  virtual ~Buffer() = default;
  // For the backend's own ops; host code may dereference it on CPU backends only.
  virtual void* data() = 0;
  virtual size_t bytes() const = 0;
};

// Rows of one weight matrix in host memory, as they lie in a model file. `rows[i]` points at the
// first of in_features elements of output i, at a block border; need not be aligned. Rows can come
// from anywhere: that is how heads are picked, permutations undone and columns cut.
struct LinearSource {
  DType dtype = DType::kF32;
  int64_t in_features = 0;
  absl::Span<const std::byte* const> rows;
};

// What a LinearSource takes up, without its data.
struct LinearSize {
  DType dtype = DType::kF32;
  int64_t in_features = 0;
  int64_t out_features = 0;
};

// Weights of one linear layer in the layout that the backend likes. y = W x (+ bias).
class PackedLinear {
 public:
  virtual ~PackedLinear() = default;
  virtual int64_t in_features() const = 0;
  virtual int64_t out_features() const = 0;
  // Backend memory in use.
  virtual size_t bytes() const = 0;
};

// Weights of the first half of a gated feed-forward: two matrices of one shape, in the layout that
// the backend likes. They may be interleaved, so that one pass over the input makes both products.
class PackedGatedLinear {
 public:
  virtual ~PackedGatedLinear() = default;
  virtual int64_t in_features() const = 0;
  // Of each of the two matrices, and so of GatedLinear.
  virtual int64_t out_features() const = 0;
  // Backend memory in use.
  virtual size_t bytes() const = 0;
};

// Keys and values of all layers, cut into blocks of kKvBlockTokens tokens; the layout within is the
// backend's own.
class KvCache {
 public:
  struct Shape {
    int num_layers = 0;
    int num_blocks = 0;
    int num_kv_heads = 0;  // This rank's.
    int head_dim = 0;
    // Of keys and values. Attention takes it from here.
    KvDType dtype = KvDType::kF32;
  };
  virtual ~KvCache() = default;
  virtual const Shape& shape() const = 0;
  virtual size_t bytes() const = 0;
};

// How large the ops of a step get: what a backend needs to know to reserve its workspace.
struct WorkspaceLimits {
  int64_t max_tokens = 0;  // Rows of the tensors of an op.
  int64_t max_seqs = 0;    // Sequences of a step, and rows of logits.
  int64_t hidden = 0;
  int64_t local_q_heads = 0;
  int64_t head_dim = 0;
  int64_t local_ffn = 0;
  int64_t local_vocab = 0;
  int64_t max_blocks_per_seq = 0;  // Of the KV cache.
};

// Ops that were recorded and can be run again, with the same arguments; see Backend::Record. What
// they read from backend memory they read anew.
class Recording {
 public:
  virtual ~Recording() = default;
};

// Not thread-safe: one engine thread makes all calls. Outlives everything it made.
class Backend {
 public:
  virtual ~Backend() = default;

  // For logs, for example "cpu avx2, 2 threads".
  virtual std::string Describe() const = 0;
  // What decides the bits of results, but for the program and its libraries: backends of one
  // program that say the same compute the same. For example "avx2".
  virtual std::string Arithmetic() const = 0;
  // The level that it keeps, which may be stricter than what it was asked for.
  virtual Determinism determinism() const = 0;
  // Floats of 2 or 4 bytes. The residual may have the longer ones, since it is what all layers add
  // to.
  virtual DType activation_dtype() const = 0;
  virtual DType residual_dtype() const = 0;
  // What the KV caches of models are to be kept in: what the backend was made for, or what suits it
  // best.
  virtual KvDType kv_cache_dtype() const { return KvDType::kF32; }
  // The CPUs that threads which call ops, one after the other, are to keep to, as the backend's own
  // threads keep to theirs; empty if they may run anywhere. The backend leaves it to them.
  virtual absl::Span<const int> calling_cpus() const { return {}; }
  // Whether ops return before they are done. If so, the next step should be called for while one
  // runs.
  virtual bool is_asynchronous() const { return false; }
  // Whether Record works.
  virtual bool can_record() const { return false; }
  // How many sequences a step of one token each should have instead of `num_seqs`, if it is filled
  // up with rows that nobody wants; at least num_seqs. For backends that prepare batches of a few
  // sizes, such as CUDA graphs.
  virtual int DecodeBatchSize(int num_seqs) const { return num_seqs; }

  // --- What memory it takes, told before anything is allocated. Any thread. ---

  // PackedLinear::bytes of PackLinear with sources of these sizes, and the same for
  // PackGatedLinear.
  virtual size_t LinearBytes(absl::Span<const LinearSize> sources) const = 0;
  virtual size_t GatedLinearBytes(const LinearSize& gate, const LinearSize& up) const = 0;
  // KvCache::bytes of AllocateKvCache.
  virtual size_t KvCacheBytes(const KvCache::Shape& shape) const = 0;
  // What Reserve takes.
  virtual size_t WorkspaceBytes(const WorkspaceLimits& limits) const = 0;

  // --- Memory and weights: at start only. RESOURCE_EXHAUSTED, telling the bytes, when memory runs
  // out. ---

  virtual std::unique_ptr<Stream> NewStream() = 0;
  // Null if ops are done when they return: then the host's clock tells how long they take.
  virtual std::unique_ptr<SpanTimer> NewSpanTimer() { return nullptr; }
  virtual absl::StatusOr<std::unique_ptr<Buffer>> Allocate(size_t bytes) = 0;
  // Memory of the host that the backend copies from and to most quickly, and without making the
  // host wait.
  virtual absl::StatusOr<std::unique_ptr<Buffer>> AllocateOnHost(size_t bytes) = 0;
  // Stacks the outputs of `sources` (all of one in_features) into one layer: q|k|v.
  // INVALID_ARGUMENT for a type that the backend cannot compute with or in_features that is not a
  // multiple of the block. Sources may be freed afterwards.
  virtual absl::StatusOr<std::unique_ptr<PackedLinear>> PackLinear(
      absl::Span<const LinearSource> sources) = 0;
  // The two matrices of a GatedLinear. INVALID_ARGUMENT as PackLinear, and if their shapes differ;
  // their types may.
  virtual absl::StatusOr<std::unique_ptr<PackedGatedLinear>> PackGatedLinear(
      const LinearSource& gate, const LinearSource& up) = 0;
  // INVALID_ARGUMENT for a type that attention cannot read, naming those that it can.
  virtual absl::StatusOr<std::unique_ptr<KvCache>> AllocateKvCache(const KvCache::Shape& shape) = 0;
  // Makes the workspace, in place of an earlier one; to be called before the first op, when no op
  // runs. Ops beyond the limits are bugs of the caller. All streams share the workspace, so the ops
  // that compute are called on one stream only.
  virtual absl::Status Reserve(const WorkspaceLimits& limits) = 0;

  // --- Copies between host and backend memory, in stream order. ---

  // The host memory must stay as it is until the next Synchronize.
  virtual void CopyToBackend(Stream& stream, void* to, const void* from, size_t bytes) = 0;
  virtual void CopyToHost(Stream& stream, void* to, const void* from, size_t bytes) = 0;

  // --- Recordings, which spare the host the calls of a step that is much like others ---

  // Calls `ops`, which calls ops and collectives on `stream` and does nothing else, and keeps these
  // calls in place of running them. To be called when nothing runs. The error of `ops`, or
  // INTERNAL.
  virtual absl::StatusOr<std::unique_ptr<Recording>> Record(Stream& stream,
                                                            absl::FunctionRef<absl::Status()> ops) {
    return absl::UnimplementedError("this backend does not record ops");
  }
  // Runs the calls of a recording that this backend made. The recording must outlive them.
  virtual void Replay(Stream& stream, const Recording& recording) {}

  // --- Ops ---

  // block_tables[slot, index] = block for each of the step's table_entries, in order. Called before
  // the other ops of a step.
  virtual void UpdateBlockTables(Stream& stream, const StepBatch& batch) = 0;

  // out[t] = row (token - first_row) of `table`, zeros where that is not a row of it: with the
  // vocabulary split over ranks, the sum over ranks is the embedding. The token is token_ids[t] or,
  // if that is kLastToken, last_tokens of the token's slot.
  // table: [local_vocab, hidden]; out: [num_tokens, hidden], the residual.
  virtual void Embed(Stream& stream, const StepBatch& batch, const PackedLinear& table,
                     int64_t first_row, Tensor out) = 0;

  // out = x / sqrt(mean(x^2) + eps) * weight, row by row, mean in float32 or better.
  // x, out: [rows, hidden]; x is the residual or an activation, and may be `out` in the latter
  // case; weight: [1, hidden] f32. Source: Zhang and Sennrich 2019, arXiv 1910.07467; LlamaRMSNorm
  // in transformers.
  virtual void RmsNorm(Stream& stream, Tensor x, Tensor weight, float eps, Tensor out) = 0;

  // residual += delta; out = RmsNorm(residual), as it was stored. All [rows, hidden]; out may be
  // delta.
  virtual void AddRmsNorm(Stream& stream, Tensor residual, Tensor delta, Tensor weight, float eps,
                          Tensor out) = 0;

  // out = x W^T (+ bias). x: [rows, in_features]; bias: [1, out_features] f32, or data null for
  // none; out: [rows, out_features], an activation or f32. The sum over in_features is taken in an
  // order that depends on the layer only, never on `rows`, at Determinism::kStrict.
  virtual void Linear(Stream& stream, Tensor x, const PackedLinear& w, Tensor bias, Tensor out) = 0;

  // residual += x W^T. x: [rows, in_features]; residual: [rows, out_features]. The products are
  // summed in float32 or better and not rounded further before they are added; in float32, at
  // Determinism::kStrict, the result has the bits of Linear without a bias, followed by an
  // addition.
  virtual void LinearAdd(Stream& stream, Tensor x, const PackedLinear& w, Tensor residual) = 0;

  // out = silu(x Wg^T) * (x Wu^T), silu(x) = x / (1 + exp(-x)), where the products are as those of
  // Linear into float32, to the bit at Determinism::kStrict. x: [rows, in_features]; out: [rows,
  // out_features].
  // Source: Shazeer 2020, arXiv 2002.05202 (SwiGLU); LlamaMLP in transformers.
  virtual void GatedLinear(Stream& stream, Tensor x, const PackedGatedLinear& w, Tensor out) = 0;

  // RmsNorm of the residual into `normed`, then Linear of that, with the same bits; and the same
  // with GatedLinear. Backends that do both at once override this. `normed`, [rows, hidden], an
  // activation, is memory that the op may use; what is in it afterwards is not defined.
  virtual void NormLinear(Stream& stream, Tensor residual, Tensor norm_weight, float eps,
                          Tensor normed, const PackedLinear& w, Tensor bias, Tensor out);
  virtual void NormGatedLinear(Stream& stream, Tensor residual, Tensor norm_weight, float eps,
                               Tensor normed, const PackedGatedLinear& w, Tensor out);

  // Cosines and sines for the step's positions, to be shared by all layers:
  // angle[t, j] = positions[t] * inv_freq[rope_lists[seq_of_token[t]], j], in float32;
  // cos_sin[t] = {cos(angle[t, 0..r)) * factor, sin(angle[t, 0..r)) * factor}, r = rotary_dim / 2.
  // inv_freq: [num_lists, r] f32; cos_sin: [num_tokens, rotary_dim] f32.
  // Source: Su et al. 2021, arXiv 2104.09864; LlamaRotaryEmbedding in transformers.
  virtual void RopeAngles(Stream& stream, const StepBatch& batch, Tensor inv_freq, float factor,
                          Tensor cos_sin) = 0;

  // Rotates q and k in place and stores k and v in the cache at each token's position.
  // qkv: [num_tokens, (local_q_heads + 2 * local_kv_heads) * head_dim], q heads, then k, then v.
  // Half-split pairs: dims (j, j + rotary_dim / 2) of a head turn by angle j; dims from rotary_dim
  // on pass unchanged. Token t goes to slot positions[t] % 16 of the block
  // block_tables[slots[seq_of_token[t]], positions[t] / 16] of `layer`. Keys, once rotated, and
  // values are stored as they are in qkv, rounded to the cache's type: to bfloat16 to the nearest
  // number, to 8 bits as kernels/kv_quantize.h says.
  virtual void RopeAndWriteKv(Stream& stream, const StepBatch& batch, Tensor cos_sin,
                              int local_q_heads, Tensor qkv, KvCache& cache, int layer) = 0;

  // Causal attention of each token over the cached keys 0..positions[t] of its own sequence:
  // out[t, h] = sum_s softmax_s(scale * q[t, h] . k[s, g]) v[s, g], g = h / (q heads per KV head).
  // qkv as above, after RopeAndWriteKv of the same layer; out: [num_tokens, local_q_heads *
  // head_dim]. local_q_heads is a multiple of the cache's num_kv_heads. Softmax in float32. All
  // keys and values, those of the token itself too, are as the cache has them: so a token has the
  // same bits however its prompt was cut into steps.
  virtual void PagedAttention(Stream& stream, const StepBatch& batch, Tensor qkv, int local_q_heads,
                              float scale, const KvCache& cache, int layer, Tensor out) = 0;

  // RopeAndWriteKv, then PagedAttention, with the same bits in the cache and in `out`. Backends
  // that do both at once override this. What is in `qkv` afterwards is not defined.
  virtual void RopeAttention(Stream& stream, const StepBatch& batch, Tensor cos_sin,
                             int local_q_heads, Tensor qkv, float scale, KvCache& cache, int layer,
                             Tensor out);

  // out[i] = x[rows[i]]. rows: [out.rows] i32 in backend memory; x: [num_tokens, hidden]; out:
  // [rows, hidden].
  virtual void GatherRows(Stream& stream, const int32_t* rows, Tensor x, Tensor out) = 0;

  // Applies batch.edits and batch.mask_words to the logits, as kernels/sampling/logit_edit.h
  // defines it to the bit. logits: this rank's, [num_logit_rows, local_vocab] f32, in place.
  // first_id: of column 0.
  virtual void AdjustLogits(Stream& stream, const SamplingBatch& batch, Tensor logits,
                            int64_t first_id) = 0;

  // tokens[i] = the token drawn from row i of logits under batch.sampling[i].
  // logits: [num_logit_rows, vocab] f32, left as they are; tokens: [num_logit_rows] i32 in backend
  // memory. Defined to the bit by kernels/sampling/sample.h: the same logits, seed and position
  // give the same token on every backend.
  virtual void Sample(Stream& stream, const SamplingBatch& batch, Tensor logits,
                      int32_t* tokens) = 0;

  // last_tokens[logit_slots[i]] = tokens[i], for the steps that follow. tokens: [num_logit_rows];
  // last_tokens: that of StepBatch.
  virtual void StoreLastTokens(Stream& stream, const SamplingBatch& batch, const int32_t* tokens,
                               int32_t* last_tokens) = 0;

  // log_probs[i] = ln softmax(logits[i])[targets[i]], with the sum that
  // kernels/sampling/log_prob.h defines to the bit.
  // logits: [rows, vocab] f32, left as they are; targets: [rows] i32 in [0, vocab); log_probs:
  // [rows] f32; both in backend memory.
  virtual void TokenLogProbs(Stream& stream, Tensor logits, const int32_t* targets,
                             float* log_probs) = 0;

  // The ops from here on do the work of Sample and TokenLogProbs where the vocabulary is split over
  // ranks: each op does one rank's part, and between the ops the ranks combine words, by the
  // collectives named here. All arithmetic that ranks share is on integers, so that the results are
  // those of Sample and TokenLogProbs to the bit, for every split. `logits` are always this rank's,
  // [rows, local_vocab] f32, and left as they are. To draw tokens:
  //
  //   RowMaxima                                   maximum of `maxima`
  //   if a row has top_k, then if a row has top_p, then if a row has typical_p:
  //     TypicalSums, for typical_p alone          sum of `typical_sums`
  //     for digit 0 to kCutDigits - 1:
  //       CutSums                                 sum of `sums`; for the last digit they are
  //       NarrowCut                               gathered in `sums_of_ranks` instead
  //   KeptWeights                                 `kept` gathered in `kept_of_ranks`
  //   DrawTokens                                  maximum of `drawn`
  //   TakeTokens
  //
  // If all rows are greedy, RowMaxima, DrawTokens and TakeTokens suffice, and `drawn` is the same
  // on all ranks already.

  // maxima[i] = the rank key of row i's highest logit in the upper 32 bits and the complement of
  // its id in the lower ones, so that the highest word of all ranks names the first token in rank;
  // all ones if a logit is NaN or +infinity; 0 if all are -infinity or there is none. Rank keys are
  // unsigned numbers in the order of logits, by kernels/sampling/weight.h.
  // first_id: of column 0; maxima: [rows] in backend memory.
  virtual void RowMaxima(Stream& stream, Tensor logits, int64_t first_id, uint64_t* maxima) = 0;

  // sums[i, v] = how much the tokens of row i count whose rank keys have the digits of the cut that
  // were found so far and v as digit `digit`: each 1 for kTopK, else its weight, where tokens that
  // were dropped before weigh nothing. Zeros for rows without such a cut.
  // Reads maxima, cuts and, for kTypical, typical_sums of all ranks; writes sums.
  virtual void CutSums(Stream& stream, const SamplingBatch& batch, Tensor logits,
                       const SampleShard& shard, CutKind kind, int digit) = 0;

  // Finds digit `digit` of each row's cut: the highest with which the tokens from the top down to
  // it reach what the cut wants, by the sums of all ranks. With the last digit also last_id: of the
  // tokens with just that key the ranks before this one have theirs kept first.
  // Reads maxima, and sums or, for the last digit, sums_of_ranks; updates cuts.
  virtual void NarrowCut(Stream& stream, const SamplingBatch& batch, Tensor logits,
                         const SampleShard& shard, CutKind kind, int digit) = 0;

  // typical_sums[i] = {the sum of the weights that this rank's tokens of row i have after top_k,
  // top_p and min_p; the sum of the products that kernels/sampling/sample.h defines}. Zeros for
  // rows without typical_p. Reads maxima and cuts; writes typical_sums.
  virtual void TypicalSums(Stream& stream, const SamplingBatch& batch, Tensor logits,
                           const SampleShard& shard) = 0;

  // kept[i] = the sum of the weights that this rank's tokens of row i have after the cuts, and
  // sums[i, j] = the same for the j-th of kDigitValues runs of ceil(local_vocab / kDigitValues)
  // tokens, the last ones of which may be shorter or empty. Zeros for rows that are greedy or have
  // no token. Reads maxima and cuts.
  virtual void KeptWeights(Stream& stream, const SamplingBatch& batch, Tensor logits,
                           const SampleShard& shard) = 0;

  // drawn[i] = 1 + the token of row i if it is known to this rank, else 0: if the draw falls into
  // its part, by kept_of_ranks, and if the row is greedy. 0 on all ranks if the row has no token.
  // Reads maxima, cuts, kept_of_ranks and the sums of KeptWeights; a batch of greedy rows only
  // reads maxima alone.
  virtual void DrawTokens(Stream& stream, const SamplingBatch& batch, Tensor logits,
                          const SampleShard& shard) = 0;

  // tokens[i] = drawn[i] - 1, which is kNoToken for a row without a token. drawn: [rows], of all
  // ranks; tokens: [rows] i32; both in backend memory.
  virtual void TakeTokens(Stream& stream, int64_t rows, const uint64_t* drawn, int32_t* tokens) = 0;

  // For log-probabilities: RowMaxima, maximum of `maxima`; LogProbTerms, sum of `terms`;
  // CombineLogProbs.
  // terms[i] = {the two words of this rank's part of the sum of exponentials, as
  // kernels/sampling/log_prob.h defines them; the bits of the target's logit if it is this rank's,
  // else 0}. Zeros where maxima[i] tells that the row has no token.
  // targets: [rows], ids of the whole vocabulary; maxima: [rows], of all ranks; terms: [rows,
  // kLogProbTerms]; all in backend memory.
  virtual void LogProbTerms(Stream& stream, Tensor logits, int64_t first_id, const int32_t* targets,
                            const uint64_t* maxima, uint64_t* terms) = 0;

  // log_probs[i] from the maxima and the sums of terms of all ranks; NaN if the row has no token.
  // maxima: [rows]; terms: [rows, kLogProbTerms]; log_probs: [rows] f32; all in backend memory.
  virtual void CombineLogProbs(Stream& stream, int64_t rows, const uint64_t* maxima,
                               const uint64_t* terms, float* log_probs) = 0;

  // words[i, j] = the word that RowMaxima would have for the token of rank j among this rank's part
  // of row i, 0 from where there are no more; j below `count`, which is at most kMaxTopLogProbs.
  // Tokens of -infinity and NaN are left out. words: [rows, count] in backend memory.
  virtual void TopLogits(Stream& stream, Tensor logits, int64_t first_id, int count,
                         uint64_t* words) = 0;
};

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_OPS_H_
