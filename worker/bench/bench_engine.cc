#include "worker/bench/bench_engine.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status.h"
#include "kernels/step_batch.h"
#include "prometheus/registry.h"
#include "worker/engine/engine.h"

namespace phalanx {
namespace {

using SteadyClock = std::chrono::steady_clock;

double SecondsSince(SteadyClock::time_point start) {
  return std::chrono::duration<double>(SteadyClock::now() - start).count();
}

// Counts tokens and ends.
class CountingSink final : public EventSink {
 public:
  void OnStep(absl::Span<const RequestEvent> events, const EngineLoad&) override {
    for (const RequestEvent& event : events) {
      const auto tokens = static_cast<int64_t>(event.token_ids.size());
      tokens_ += tokens;
      int64_t& of_request = tokens_of_[event.id];
      if (of_request < kWarmSteps && of_request + tokens >= kWarmSteps) ++warm_;
      of_request += tokens;
      if (event.finished.has_value()) ++ended_;
      error_.Update(event.error);
    }
  }
  void OnEngineEnded(const absl::Status&) override {}

  int64_t tokens() const { return tokens_; }
  int64_t tokens_of(RequestId id) const {
    const auto it = tokens_of_.find(id);
    return it == tokens_of_.end() ? 0 : it->second;
  }
  int ended() const { return ended_; }
  // Requests that have had kWarmSteps tokens.
  int warm() const { return warm_; }
  const absl::Status& error() const { return error_; }

 private:
  absl::flat_hash_map<RequestId, int64_t> tokens_of_;
  int64_t tokens_ = 0;
  int ended_ = 0;
  int warm_ = 0;
  absl::Status error_;
};

}  // namespace

// One engine, from its first request to its last.
class BenchEngine::Run {
 public:
  Run(BenchEngine& bench, int step_tokens)
      : bench_(bench),
        metrics_(registry_),
        engine_({.limits = {.max_step_tokens = step_tokens,
                            .max_seqs = bench.model_.limits().max_seqs,
                            .max_blocks_per_seq = bench.model_.limits().max_blocks_per_seq,
                            .kv_blocks = bench.model_.limits().kv_blocks},
                 .request_limits = {.vocab_size = bench.model_.spec().vocab,
                                    .context_tokens = bench.model_.spec().context_tokens},
                 .max_waiting = 4096,
                 .prefix_cache = bench.model_.prefix_cache()},
                &bench.executor_, MonotonicClock(), &metrics_) {}
  // Steps in flight are awaited by the engine's end.
  ~Run() {
    engine_.Stop();
    while (engine_.RunOnce()) {
    }
    session_.reset();
  }

  absl::Status Open() {
    ASSIGN_OR_RETURN(session_, engine_.OpenSession(&sink_));
    return absl::OkStatus();
  }

  // The tokens of a prompt are the same in each run, and other ones in each sequence.
  absl::Status Submit(int prompt_tokens, int max_new_tokens) {
    GenerationRequest request;
    const auto vocab = static_cast<uint64_t>(bench_.model_.spec().vocab);
    for (int i = 0; i < std::max(prompt_tokens, 1); ++i) {
      const uint64_t token = (submitted_ * 7919 + static_cast<uint64_t>(i) * 104729 + 13) % vocab;
      request.prompt_token_ids.push_back(static_cast<int32_t>(token));
    }
    request.max_new_tokens = max_new_tokens;
    return session_->Submit(RequestId{submitted_++}, std::move(request));
  }

  absl::Status Step() {
    if (bench_.interrupted_()) return absl::CancelledError("interrupted");
    const bool goes_on = engine_.RunOnce();
    RETURN_IF_ERROR(sink_.error());
    return goes_on ? absl::OkStatus() : absl::InternalError("the engine has ended");
  }

  const CountingSink& sink() const { return sink_; }
  int submitted() const { return static_cast<int>(submitted_); }

 private:
  BenchEngine& bench_;
  CountingSink sink_;
  prometheus::Registry registry_;
  EngineMetrics metrics_;
  Engine engine_;
  std::unique_ptr<EngineSession> session_;
  uint64_t submitted_ = 0;
};

int PromptStepTokens(const StepLimits& limits, bool compute_prompts) {
  if (compute_prompts) return limits.max_step_tokens;
  // A thinned step has as many entries of block tables as the whole one, and a step has room for
  // max_step_tokens of these, beside those of the prefix cache. A sequence may need one for its
  // first block beside those that its tokens fill.
  const int entries = limits.max_step_tokens - limits.max_seqs;
  return std::max(limits.max_step_tokens, entries * kernels::kKvBlockTokens);
}

BenchEngine::BenchEngine(BenchModel* model, bool compute_prompts, std::function<bool()> interrupted)
    : model_(*model),
      compute_prompts_(compute_prompts),
      interrupted_(std::move(interrupted)),
      executor_(&model->executor()) {}

int BenchEngine::step_tokens() const { return PromptStepTokens(model_.limits(), compute_prompts_); }

absl::StatusOr<BenchResult> BenchEngine::Measure(const BenchCase& bench_case) {
  BenchResult result;
  result.bench_case = bench_case;
  const int context = ContextTokens(bench_case, step_tokens());
  const int64_t cache = int64_t{model_.limits().kv_blocks} * kernels::kKvBlockTokens;
  if (bench_case.batch > model_.limits().max_seqs) {
    result.skipped = absl::StrCat("--max_seqs is ", model_.limits().max_seqs);
  } else if (context > model_.spec().context_tokens) {
    result.skipped = absl::StrCat("a context has ", model_.spec().context_tokens, " tokens");
  } else if (KvTokens(bench_case, step_tokens()) > cache) {
    result.skipped = absl::StrCat("the KV cache holds ", cache, " tokens");
  }
  if (!result.skipped.empty()) return result;
  executor_.set_thin(!compute_prompts_ && bench_case.kind == BenchCase::Kind::kDecode);
  switch (bench_case.kind) {
    case BenchCase::Kind::kPrefill:
      RETURN_IF_ERROR(Prefill(&result));
      break;
    case BenchCase::Kind::kDecode:
      RETURN_IF_ERROR(Decode(&result));
      break;
    case BenchCase::Kind::kSaturated:
      RETURN_IF_ERROR(Saturated(&result));
      break;
    case BenchCase::Kind::kMixed:
      RETURN_IF_ERROR(Mixed(&result));
      break;
  }
  std::sort(result.seconds.begin(), result.seconds.end());
  return result;
}

absl::Status BenchEngine::Prefill(BenchResult* result) {
  result->tokens = result->bench_case.depth;
  for (int i = 0; i < result->bench_case.repeats; ++i) {
    Run run(*this, model_.limits().max_step_tokens);
    RETURN_IF_ERROR(run.Open());
    const auto start = SteadyClock::now();
    RETURN_IF_ERROR(run.Submit(result->bench_case.depth, 1));
    while (run.sink().tokens() == 0) RETURN_IF_ERROR(run.Step());
    result->seconds.push_back(SecondsSince(start));
  }
  return absl::OkStatus();
}

absl::Status BenchEngine::Decode(BenchResult* result) {
  const BenchCase& wanted = result->bench_case;
  Run run(*this, step_tokens());
  RETURN_IF_ERROR(run.Open());
  for (int i = 0; i < wanted.batch; ++i) {
    RETURN_IF_ERROR(run.Submit(wanted.depth, AnswerTokens(wanted, step_tokens())));
  }
  // Prompts are taken in one after the other; what is measured begins when all decode.
  while (run.sink().warm() < wanted.batch) RETURN_IF_ERROR(run.Step());
  for (int repeat = 0; repeat < wanted.repeats; ++repeat) {
    const int64_t before = run.sink().tokens();
    const auto start = SteadyClock::now();
    for (int i = 0; i < wanted.steps; ++i) RETURN_IF_ERROR(run.Step());
    const auto tokens = static_cast<double>(run.sink().tokens() - before);
    if (tokens == 0) return absl::InternalError("a decode ended before it was measured");
    result->seconds.push_back(SecondsSince(start) * wanted.batch / tokens);
  }
  result->tokens = wanted.batch;
  result->bytes = model_.weight_bytes() + model_.kv_bytes_per_token() * wanted.batch * wanted.depth;
  return absl::OkStatus();
}

absl::Status BenchEngine::Saturated(BenchResult* result) {
  const BenchCase& wanted = result->bench_case;
  Run run(*this, model_.limits().max_step_tokens);
  RETURN_IF_ERROR(run.Open());
  uint64_t random = 1;
  const auto feed = [&]() -> absl::Status {
    while (run.submitted() - run.sink().ended() < 2 * wanted.batch) {
      // Answers of different lengths, so that they do not all end in one step.
      random = random * 6364136223846793005u + 1442695040888963407u;
      const int answer = wanted.answer / 2 + static_cast<int>((random >> 33) % wanted.answer);
      RETURN_IF_ERROR(run.Submit(wanted.depth, answer));
    }
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(feed());
  while (run.sink().ended() < wanted.batch / 8) {
    RETURN_IF_ERROR(run.Step());
    RETURN_IF_ERROR(feed());
  }
  const int64_t before = run.sink().tokens();
  const auto start = SteadyClock::now();
  while (SecondsSince(start) < wanted.seconds) {
    RETURN_IF_ERROR(run.Step());
    RETURN_IF_ERROR(feed());
  }
  result->seconds.push_back(SecondsSince(start));
  result->tokens = static_cast<double>(run.sink().tokens() - before);
  return absl::OkStatus();
}

// What a mixed load took, or its two parts apart.
struct BenchEngine::LoadTimes {
  double seconds = 0;
  int64_t streamed_tokens = 0;
  // Of steps that computed as many tokens as a step may have.
  std::vector<double> full_steps = {};
  // Between two tokens of a sequence.
  std::vector<double> gaps = {};
};

namespace {

double Percentile99(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[values.size() * 99 / 100];
}

}  // namespace

// Lets the case's sequences decode, if `streams`, while its prompts come, each when the one before
// has been computed. If there are no prompts, until `streamed_tokens` were drawn.
absl::Status BenchEngine::RunMixed(const BenchCase& wanted, bool streams, int prompts,
                                   int64_t streamed_tokens, LoadTimes* times) {
  Run run(*this, model_.limits().max_step_tokens);
  RETURN_IF_ERROR(run.Open());
  const int batch = streams ? wanted.batch : 0;
  for (int i = 0; i < batch; ++i) {
    RETURN_IF_ERROR(run.Submit(1, AnswerTokens(wanted, model_.limits().max_step_tokens)));
  }
  while (run.sink().warm() < batch) RETURN_IF_ERROR(run.Step());
  const int64_t before = run.sink().tokens();
  const auto start = SteadyClock::now();
  std::vector<SteadyClock::time_point> last(batch, start);
  std::vector<int64_t> tokens_of(batch);
  for (int i = 0; i < batch; ++i) tokens_of[i] = run.sink().tokens_of(RequestId(i));
  int sent = 0;
  while (true) {
    const int done = run.sink().ended();
    if (prompts > 0 ? done == prompts : run.sink().tokens() - before >= streamed_tokens) break;
    if (sent == done && sent < prompts) {
      RETURN_IF_ERROR(run.Submit(wanted.depth, 1));
      ++sent;
    }
    const auto step_start = SteadyClock::now();
    RETURN_IF_ERROR(run.Step());
    const auto now = SteadyClock::now();
    // The last step of a prompt is not full, unless it is the only one.
    if (run.sink().ended() == done || wanted.depth <= model_.limits().max_step_tokens) {
      times->full_steps.push_back(std::chrono::duration<double>(now - step_start).count());
    }
    for (int i = 0; i < batch; ++i) {
      const int64_t tokens = run.sink().tokens_of(RequestId(i));
      if (tokens == std::exchange(tokens_of[i], tokens)) continue;
      times->gaps.push_back(std::chrono::duration<double>(now - last[i]).count());
      last[i] = now;
    }
  }
  times->seconds += SecondsSince(start);
  times->streamed_tokens += run.sink().tokens() - before - prompts;
  return absl::OkStatus();
}

absl::Status BenchEngine::Mixed(BenchResult* result) {
  const BenchCase& wanted = result->bench_case;
  std::vector<double> gaps;
  std::vector<double> of_unmixed;
  for (int i = 0; i < wanted.repeats; ++i) {
    LoadTimes mixed;
    RETURN_IF_ERROR(RunMixed(wanted, /*streams=*/true, wanted.prompts, 0, &mixed));
    LoadTimes prompts;
    RETURN_IF_ERROR(RunMixed(wanted, /*streams=*/false, wanted.prompts, 0, &prompts));
    LoadTimes streams;
    RETURN_IF_ERROR(RunMixed(wanted, /*streams=*/true, 0, mixed.streamed_tokens, &streams));
    result->seconds.push_back(mixed.seconds);
    result->tokens = static_cast<double>(mixed.streamed_tokens) + wanted.prompts * wanted.depth;
    gaps.push_back(Percentile99(mixed.gaps) / Median(prompts.full_steps));
    of_unmixed.push_back((prompts.seconds + streams.seconds) / mixed.seconds);
  }
  result->gap_in_steps = Median(gaps);
  result->of_unmixed = Median(of_unmixed);
  return absl::OkStatus();
}

}  // namespace phalanx
