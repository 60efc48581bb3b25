#include "client/top_view.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/json_line.h"

namespace phalanx {
namespace {

using worker::v1::DumpStateResponse;
using worker::v1::RankState;
using worker::v1::RequestState;

absl::string_view PhaseName(RequestState::Phase phase) {
  switch (phase) {
    case RequestState::PHASE_WAITING:
      return "waiting";
    case RequestState::PHASE_PREFILLING:
      return "prefilling";
    case RequestState::PHASE_DECODING:
      return "decoding";
    case RequestState::PHASE_PREEMPTED:
      return "preempted";
    default:
      return "unknown";
  }
}

absl::string_view PhaseName(RankState::Phase phase) {
  switch (phase) {
    case RankState::PHASE_MISSING:
      return "missing";
    case RankState::PHASE_LOADING:
      return "loading";
    case RankState::PHASE_READY:
      return "ready";
    case RankState::PHASE_LOST:
      return "lost";
    default:
      return "unknown";
  }
}

double Percent(int64_t part, int64_t whole) {
  return whole == 0 ? 0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

// Three digits and a unit: what somebody takes in at a glance.
std::string TimeText(double seconds) {
  if (seconds < 1) return absl::StrFormat("%.1fms", seconds * 1000);
  if (seconds < 100) return absl::StrFormat("%.1fs", seconds);
  const auto whole = static_cast<int64_t>(seconds);
  if (whole < 3600) return absl::StrFormat("%dm%02ds", whole / 60, whole % 60);
  return absl::StrFormat("%dh%02dm", whole / 3600, whole / 60 % 60);
}

// A name as it can be shown on a terminal, which takes control characters for commands.
std::string Printable(absl::string_view name) {
  std::string text(name);
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < ' ' || c == 0x7f; }, '?');
  return text;
}

std::string MemoryText(int64_t bytes) {
  constexpr double kMiB = 1 << 20;
  const double mib = static_cast<double>(bytes) / kMiB;
  return mib < 10240 ? absl::StrFormat("%.0fM", mib) : absl::StrFormat("%.1fG", mib / 1024);
}

std::string RankTable(const DumpStateResponse& state) {
  std::string text = absl::StrFormat("\n%4s  %-8s  %8s  %9s  %8s  %8s  %8s  %8s  %8s  %8s  %s\n",
                                     "RANK", "STATE", "PROCESS", "HEARTBEAT", "STEP", "COMM", "LAG",
                                     "WEIGHTS", "KV CACHE", "MEMORY", "HOST");
  for (const RankState& rank : state.ranks()) {
    absl::StrAppendFormat(&text, "%4d  %-8s  %8d  %9s  %8s  %8s  %8s  %8s  %8s  %8s  %s\n",
                          rank.rank(), PhaseName(rank.phase()), rank.process_id(),
                          TimeText(rank.heartbeat_age_seconds()), TimeText(rank.step_seconds()),
                          TimeText(rank.comm_seconds()), TimeText(rank.lag_seconds()),
                          MemoryText(rank.weight_bytes()), MemoryText(rank.kv_cache_bytes()),
                          MemoryText(rank.resident_bytes()), Printable(rank.host()));
  }
  return text;
}

std::string Totals(absl::string_view target, const DumpStateResponse& state) {
  const worker::v1::StepState& steps = state.steps();
  const worker::v1::BlockState& blocks = state.blocks();
  const worker::v1::Totals& totals = state.totals();
  std::string text =
      absl::StrFormat("worker    %s  %s  %d rank%s\n", target, Printable(state.model_name()),
                      state.world(), state.world() == 1 ? "" : "s");
  absl::StrAppendFormat(&text, "requests  %d running, %d waiting\n", state.running_requests(),
                        state.waiting_requests());
  absl::StrAppendFormat(&text, "tokens/s  %.0f computed, %.1f generated (last 10 s)\n",
                        steps.computed_tokens_per_second(), steps.generated_tokens_per_second());
  if (steps.ended() == 0) {
    text += "steps     none has ended yet";
  } else {
    absl::StrAppendFormat(&text, "steps     %d ended; the last took %s for %d tokens of %d %s",
                          steps.ended(), TimeText(steps.last_seconds()), steps.last_tokens(),
                          steps.last_sequences(),
                          steps.last_sequences() == 1 ? "sequence" : "sequences");
  }
  absl::StrAppendFormat(&text, "; %d in flight for %s\n", steps.in_flight(),
                        TimeText(steps.age_seconds()));
  absl::StrAppendFormat(&text, "blocks    %d of %d used (%.1f %%), %d cached; of %d tokens\n",
                        blocks.used(), blocks.total(), Percent(blocks.used(), blocks.total()),
                        blocks.cached(), blocks.block_tokens());
  absl::StrAppendFormat(&text, "cache     had %d of %d prompt tokens (%.1f %%); %d preemption%s\n",
                        totals.cache_hit_tokens(), totals.cache_queried_tokens(),
                        Percent(totals.cache_hit_tokens(), totals.cache_queried_tokens()),
                        totals.preemptions(), totals.preemptions() == 1 ? "" : "s");
  return text;
}

}  // namespace

std::string TopText(absl::string_view target, const DumpStateResponse& state) {
  std::string text = Totals(target, state);
  if (!state.ranks().empty()) text += RankTable(state);
  if (state.requests().empty()) return text;
  absl::StrAppendFormat(&text, "\n%10s  %-10s  %8s  %8s  %8s  %8s  %9s  %6s\n", "REQUEST", "STATE",
                        "AGE", "PROMPT", "CACHED", "COMPUTED", "GENERATED", "BLOCKS");
  for (const RequestState& request : state.requests()) {
    absl::StrAppendFormat(
        &text, "%10d  %-10s  %8s  %8d  %8d  %8d  %9s  %6d\n", request.request_id(),
        PhaseName(request.phase()), TimeText(request.age_seconds()), request.prompt_tokens(),
        request.cached_tokens(), request.computed_tokens(),
        request.score() ? "score" : absl::StrCat(request.generated_tokens()), request.kv_blocks());
  }
  const int untold = state.running_requests() + state.waiting_requests() - state.requests_size();
  if (untold > 0) absl::StrAppendFormat(&text, "and %d more\n", untold);
  return text;
}

std::string TopJson(absl::string_view target, const DumpStateResponse& state) {
  const worker::v1::StepState& steps = state.steps();
  const worker::v1::BlockState& blocks = state.blocks();
  const worker::v1::Totals& totals = state.totals();
  Json requests = Json::array();
  for (const RequestState& request : state.requests()) {
    requests.push_back({{"request_id", request.request_id()},
                        {"state", std::string(PhaseName(request.phase()))},
                        {"age_seconds", request.age_seconds()},
                        {"prompt_tokens", request.prompt_tokens()},
                        {"cached_tokens", request.cached_tokens()},
                        {"computed_tokens", request.computed_tokens()},
                        {"generated_tokens", request.generated_tokens()},
                        {"kv_blocks", request.kv_blocks()},
                        {"score", request.score()}});
  }
  Json ranks = Json::array();
  for (const RankState& rank : state.ranks()) {
    ranks.push_back({{"rank", rank.rank()},
                     {"state", std::string(PhaseName(rank.phase()))},
                     {"process_id", rank.process_id()},
                     {"host", rank.host()},
                     {"heartbeat_age_seconds", rank.heartbeat_age_seconds()},
                     {"step_seconds", rank.step_seconds()},
                     {"comm_seconds", rank.comm_seconds()},
                     {"lag_seconds", rank.lag_seconds()},
                     {"weight_bytes", rank.weight_bytes()},
                     {"kv_cache_bytes", rank.kv_cache_bytes()},
                     {"resident_bytes", rank.resident_bytes()}});
  }
  return JsonLine({{"worker", std::string(target)},
                   {"model", state.model_name()},
                   {"world", state.world()},
                   {"running_requests", state.running_requests()},
                   {"waiting_requests", state.waiting_requests()},
                   {"blocks",
                    {{"total", blocks.total()},
                     {"used", blocks.used()},
                     {"cached", blocks.cached()},
                     {"block_tokens", blocks.block_tokens()}}},
                   {"steps",
                    {{"in_flight", steps.in_flight()},
                     {"age_seconds", steps.age_seconds()},
                     {"ended", steps.ended()},
                     {"last_seconds", steps.last_seconds()},
                     {"last_tokens", steps.last_tokens()},
                     {"last_sequences", steps.last_sequences()},
                     {"computed_tokens_per_second", steps.computed_tokens_per_second()},
                     {"generated_tokens_per_second", steps.generated_tokens_per_second()}}},
                   {"totals",
                    {{"prompt_tokens", totals.prompt_tokens()},
                     {"generated_tokens", totals.generated_tokens()},
                     {"preemptions", totals.preemptions()},
                     {"cache_queried_tokens", totals.cache_queried_tokens()},
                     {"cache_hit_tokens", totals.cache_hit_tokens()}}},
                   {"ranks", ranks},
                   {"requests", requests}});
}

absl::string_view TopJsonHelp() {
  return "With --json, each look is one line of standard output, a JSON object:\n"
         "  worker, model, world, running_requests, waiting_requests,\n"
         "  blocks {total, used, cached, block_tokens},\n"
         "  steps {in_flight, age_seconds, ended, last_seconds, last_tokens, last_sequences,\n"
         "  computed_tokens_per_second, generated_tokens_per_second},\n"
         "  totals {prompt_tokens, generated_tokens, preemptions, cache_queried_tokens,\n"
         "  cache_hit_tokens},\n"
         "  ranks [{rank, state (missing, loading, ready, lost), process_id, host,\n"
         "  heartbeat_age_seconds, step_seconds, comm_seconds, lag_seconds, weight_bytes,\n"
         "  kv_cache_bytes, resident_bytes}], and\n"
         "  requests [{request_id, state (waiting, prefilling, decoding, preempted), age_seconds,\n"
         "  prompt_tokens, cached_tokens, computed_tokens, generated_tokens, kv_blocks, score}]";
}

}  // namespace phalanx
