#include "worker/server/introspection_service.h"

#include <grpc/support/time.h>
#include <grpcpp/alarm.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/status.h"
#include "kernels/ops.h"
#include "phalanx/worker/v1/introspection.grpc.pb.h"
#include "rpc/read_message.h"

namespace phalanx {
namespace {

using worker::v1::DumpStateRequest;
using worker::v1::DumpStateResponse;

// A request has one number in it.
constexpr int64_t kMaxRequestBytes = 1024;
constexpr int kDefaultRequests = 256;
constexpr int kMostRequests = 1024;
// Twice as long as there may be between two heartbeats.
constexpr absl::Duration kToldSilence = absl::Seconds(1);

std::string AgeText(absl::Duration age) {
  return absl::FormatDuration(absl::Trunc(age, absl::Milliseconds(1)));
}

grpc::Status ToGrpcStatus(const absl::Status& status) {
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

worker::v1::RequestState::Phase ToMessage(RequestPhase phase) {
  switch (phase) {
    case RequestPhase::kWaiting:
      return worker::v1::RequestState::PHASE_WAITING;
    case RequestPhase::kPrefilling:
      return worker::v1::RequestState::PHASE_PREFILLING;
    case RequestPhase::kDecoding:
      return worker::v1::RequestState::PHASE_DECODING;
    case RequestPhase::kPreempted:
      return worker::v1::RequestState::PHASE_PREEMPTED;
  }
  return worker::v1::RequestState::PHASE_UNSPECIFIED;
}

void ToMessage(const RequestSnapshot& request, worker::v1::RequestState* message) {
  message->set_request_id(static_cast<uint64_t>(request.id));
  message->set_phase(ToMessage(request.phase));
  message->set_age_seconds(absl::ToDoubleSeconds(request.age));
  message->set_prompt_tokens(request.prompt_tokens);
  message->set_computed_tokens(request.computed_tokens);
  message->set_generated_tokens(request.generated_tokens);
  message->set_kv_blocks(request.kv_blocks);
  message->set_cached_tokens(request.cached_tokens);
  message->set_score(request.score);
}

DumpStateResponse ToMessage(const EngineState& state) {
  DumpStateResponse message;
  message.set_running_requests(state.running_requests);
  message.set_waiting_requests(state.waiting_requests);
  for (const RequestSnapshot& request : state.requests) ToMessage(request, message.add_requests());
  worker::v1::BlockState& blocks = *message.mutable_blocks();
  blocks.set_total(state.total_kv_blocks);
  blocks.set_used(state.used_kv_blocks);
  blocks.set_cached(state.cached_kv_blocks);
  blocks.set_block_tokens(kernels::kKvBlockTokens);
  worker::v1::StepState& steps = *message.mutable_steps();
  steps.set_in_flight(state.steps_in_flight);
  steps.set_age_seconds(absl::ToDoubleSeconds(state.step_age));
  steps.set_ended(state.steps_ended);
  steps.set_last_seconds(absl::ToDoubleSeconds(state.last_step_time));
  steps.set_last_tokens(state.last_step_tokens);
  steps.set_last_sequences(state.last_step_seqs);
  steps.set_computed_tokens_per_second(state.computed_tokens_per_second);
  steps.set_generated_tokens_per_second(state.generated_tokens_per_second);
  worker::v1::Totals& totals = *message.mutable_totals();
  totals.set_prompt_tokens(state.prompt_tokens);
  totals.set_generated_tokens(state.generated_tokens);
  totals.set_preemptions(state.preemptions);
  totals.set_cache_queried_tokens(state.cache_queried_tokens);
  totals.set_cache_hit_tokens(state.cache_hit_tokens);
  return message;
}

worker::v1::RankState::Phase ToMessage(RankPhase phase) {
  switch (phase) {
    case RankPhase::kMissing:
      return worker::v1::RankState::PHASE_MISSING;
    case RankPhase::kLoading:
      return worker::v1::RankState::PHASE_LOADING;
    case RankPhase::kReady:
      return worker::v1::RankState::PHASE_READY;
    case RankPhase::kLost:
      return worker::v1::RankState::PHASE_LOST;
  }
  return worker::v1::RankState::PHASE_UNSPECIFIED;
}

void ToMessage(const RankState& rank, worker::v1::RankState* message) {
  message->set_rank(rank.rank);
  message->set_phase(ToMessage(rank.phase));
  message->set_process_id(rank.pid);
  message->set_host(rank.host);
  message->set_heartbeat_age_seconds(absl::ToDoubleSeconds(rank.heartbeat_age));
  message->set_step_seconds(absl::ToDoubleSeconds(rank.step_time));
  message->set_comm_seconds(absl::ToDoubleSeconds(rank.comm_time));
  message->set_lag_seconds(absl::ToDoubleSeconds(rank.lag));
  message->set_weight_bytes(rank.weight_bytes);
  message->set_kv_cache_bytes(rank.kv_arena_bytes);
  message->set_resident_bytes(rank.resident_bytes);
}

std::vector<RankState> RanksOn(const RankBoard* board) {
  return board == nullptr ? std::vector<RankState>() : board->Snapshot(MonotonicClock()->Now());
}

// The rank that has been silent for longest, as far as that is worth telling.
std::string SilentRankText(const std::vector<RankState>& ranks) {
  const auto last = std::max_element(
      ranks.begin(), ranks.end(),
      [](const RankState& a, const RankState& b) { return a.heartbeat_age < b.heartbeat_age; });
  if (last == ranks.end() || last->heartbeat_age < kToldSilence) return "";
  return absl::StrCat("; rank ", last->rank, " (process ", last->pid, ") was last heard of ",
                      AgeText(last->heartbeat_age), " ago");
}

// A call that waits for the engine, a timer, or its client to give up, whichever comes first. The
// engine's callback, the timer and gRPC each keep it alive until they have let go of it.
class DumpCall final : public grpc::ServerUnaryReactor,
                       public std::enable_shared_from_this<DumpCall> {
 public:
  explicit DumpCall(grpc::ByteBuffer* response) : response_(response) {}

  void Start(const Engine& engine, const RankBoard* board, absl::Duration patience) {
    self_ = shared_from_this();
    MutexLock lock(&mutex_);
    if (ended_) return;
    alarm_.emplace();
    alarm_->Set(gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                             gpr_time_from_nanos(absl::ToInt64Nanoseconds(patience), GPR_TIMESPAN)),
                [call = shared_from_this(), &engine, board, patience](bool fired) mutable {
                  // The alarm keeps this function for as long as it lives itself, and the call
                  // keeps the alarm: one of them has to let go.
                  const std::shared_ptr<DumpCall> self = std::move(call);
                  if (fired) self->GiveUp(engine, board, patience);
                });
  }

  // The first one ends the call.
  void End(const absl::Status& status) {
    MutexLock lock(&mutex_);
    if (!ended_) EndLocked(status);
  }
  void End(const DumpStateResponse& state) {
    MutexLock lock(&mutex_);
    if (ended_) return;
    const grpc::Slice slice(state.SerializeAsString());
    *response_ = grpc::ByteBuffer(&slice, 1);
    EndLocked(absl::OkStatus());
  }

 private:
  static absl::Status TooLate(const Engine& engine, const RankBoard* board,
                              absl::Duration patience) {
    // These wait for no step.
    const EngineLoad load = engine.load();
    return absl::DeadlineExceededError(absl::StrCat(
        "no step has ended within ", absl::FormatDuration(patience), ": the last one ended ",
        AgeText(engine.step_age()), " ago, with ", load.running_requests, " running and ",
        load.waiting_requests, " waiting requests", SilentRankText(RanksOn(board))));
  }

  void GiveUp(const Engine& engine, const RankBoard* board, absl::Duration patience) {
    MutexLock lock(&mutex_);
    // The engine lives as long as there are calls, and not longer.
    if (!ended_) EndLocked(TooLate(engine, board, patience));
  }

  void EndLocked(const absl::Status& status) EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    ended_ = true;
    if (alarm_.has_value()) alarm_->Cancel();
    Finish(ToGrpcStatus(status));
  }

  void OnCancel() override { End(absl::CancelledError("the call was cancelled")); }
  void OnDone() override { self_.reset(); }

  Mutex mutex_;
  bool ended_ GUARDED_BY(mutex_) = false;
  std::optional<grpc::Alarm> alarm_ GUARDED_BY(mutex_);
  // gRPC's until the call has ended.
  grpc::ByteBuffer* const response_;
  std::shared_ptr<DumpCall> self_;
};

}  // namespace

class IntrospectionService::Impl final
    : public worker::v1::Introspection::WithRawCallbackMethod_DumpState<
          worker::v1::Introspection::Service> {
 public:
  Impl(const Options& options, Engine* engine) : options_(options), engine_(*engine) {}

  void Announce(const std::string& model_name, int world) {
    MutexLock lock(&mutex_);
    announced_.emplace();
    announced_->set_model_name(model_name);
    announced_->set_world(world);
  }

  grpc::ServerUnaryReactor* DumpState(grpc::CallbackServerContext* context,
                                      const grpc::ByteBuffer* request,
                                      grpc::ByteBuffer* response) override {
    const auto call = std::make_shared<DumpCall>(response);
    call->Start(engine_, options_.board, Patience(*context));
    if (const absl::Status status = Ask(*request, call); !status.ok()) call->End(status);
    return call.get();
  }

 private:
  // A little less than the caller's, so that the caller hears what the engine is doing.
  absl::Duration Patience(const grpc::CallbackServerContext& context) const {
    const gpr_timespec left =
        gpr_time_sub(gpr_convert_clock_type(context.raw_deadline(), GPR_CLOCK_MONOTONIC),
                     gpr_now(GPR_CLOCK_MONOTONIC));
    const absl::Duration callers = absl::Seconds(left.tv_sec) + absl::Nanoseconds(left.tv_nsec);
    return std::min(options_.patience, callers * 0.8);
  }

  absl::Status Ask(const grpc::ByteBuffer& bytes, const std::shared_ptr<DumpCall>& call) {
    DumpStateRequest request;
    RETURN_IF_ERROR(ReadMessage(bytes, kMaxRequestBytes, &request));
    const int most = request.max_requests() == 0 ? kDefaultRequests : request.max_requests();
    if (most < 1 || most > kMostRequests) {
      return absl::InvalidArgumentError(
          absl::StrCat("max_requests: ", most, " is not in [1, ", kMostRequests, "]"));
    }
    DumpStateResponse about;
    {
      MutexLock lock(&mutex_);
      if (!announced_.has_value()) return absl::UnavailableError("the worker is starting");
      about = *announced_;
    }
    return engine_.DumpState(most, [call, about, board = options_.board](const EngineState& state) {
      DumpStateResponse message = ToMessage(state);
      for (const RankState& rank : RanksOn(board)) ToMessage(rank, message.add_ranks());
      message.MergeFrom(about);
      call->End(message);
    });
  }

  const Options options_;
  Engine& engine_;
  Mutex mutex_;
  // The fields that tell what the group serves.
  std::optional<DumpStateResponse> announced_ GUARDED_BY(mutex_);
};

IntrospectionService::IntrospectionService(const Options& options, Engine* engine)
    : impl_(std::make_unique<Impl>(options, engine)) {}

IntrospectionService::~IntrospectionService() = default;

void IntrospectionService::Announce(const std::string& model_name, int world) {
  impl_->Announce(model_name, world);
}

grpc::Service* IntrospectionService::service() { return impl_.get(); }

}  // namespace phalanx
