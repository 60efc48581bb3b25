// One Generate call, from its bytes to its last event.
#ifndef PHALANX_COORDINATOR_SERVER_GENERATE_CALL_H_
#define PHALANX_COORDINATOR_SERVER_GENERATE_CALL_H_

#include <grpcpp/alarm.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "coordinator/admission/request_gate.h"
#include "coordinator/routing/engine_session.h"
#include "coordinator/server/answer_buffer.h"
#include "coordinator/server/serving_environment.h"
#include "phalanx/v1/inference.pb.h"

namespace phalanx {

// Runs on whatever thread brings news: gRPC's (arrival, cancellation, a write that is done), the
// text pool's (the prompt), a session's (tokens), an alarm's (a stall). The first that ends the
// call decides its status; that is counted and logged there, once.
//
// Keeps itself alive until gRPC is done with it. Holding mutex_, it calls only gRPC, which does not
// call back on the same thread.
class GenerateCall final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                           public GenerationSink,
                           public std::enable_shared_from_this<GenerateCall> {
 public:
  // Takes the call up. The reactor goes back to gRPC; `environment` must outlive it.
  static grpc::ServerWriteReactor<grpc::ByteBuffer>* Start(const ServingEnvironment* environment,
                                                           grpc::CallbackServerContext* context,
                                                           const grpc::ByteBuffer* bytes);

  // Use Start.
  GenerateCall(const ServingEnvironment* environment, grpc::CallbackServerContext* context);

 private:
  // --- The way in; each step calls the next. ---
  void Arrive(const grpc::ByteBuffer& bytes);
  absl::Status Admit(const grpc::ByteBuffer& bytes);
  void Encode();
  absl::Status Dispatch(std::vector<int32_t> prompt_token_ids);
  EngineRequest MakeEngineRequest(std::vector<int32_t> prompt_token_ids, int max_new_tokens);

  // --- The way out. ---
  void OnTokens(absl::Span<const int32_t> token_ids) override;
  void OnFinished(const EngineFinish& finish) override;
  void OnFailed(const absl::Status& status) override { End(status); }
  void CountTokens(int num_tokens) EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Pump() EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // --- The end. ---
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;
  // Ends the call with `status`, not OK; nothing if it has ended. A client that does not read would
  // hold the write under way for ever; abandoning it resets the stream, which the client sees as
  // CANCELLED.
  void End(const absl::Status& status, bool abandon_write = false);
  // Sends the final status, unless a write is under way: then the end of that does.
  void FinishIfIdle() EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Counts and logs.
  void Settle(const absl::Status& status) EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // A write that takes too long: the alarm looks at the one under way and comes back for the next.
  void WatchWrite() EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SetAlarm(absl::Duration delay) EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnAlarm();

  bool Ended();
  absl::Duration TimeLeft() const;

  const ServingEnvironment& environment_;
  // Gone once done_.
  grpc::CallbackServerContext* const context_;
  const std::string id_;
  const absl::Time arrived_at_;
  // The caller's; infinitely far without one.
  const absl::Time deadline_;
  std::shared_ptr<GenerateCall> self_;
  std::optional<RequestGate::Ticket> ticket_;
  // Written before the call is shared between threads.
  v1::GenerateRequest request_;

  Mutex mutex_;
  std::unique_ptr<AnswerDecoder> decoder_ GUARDED_BY(mutex_);
  AnswerBuffer buffer_ GUARDED_BY(mutex_);
  grpc::ByteBuffer outgoing_ GUARDED_BY(mutex_);
  bool writing_ GUARDED_BY(mutex_) = false;
  absl::Time write_started_at_ GUARDED_BY(mutex_);
  std::unique_ptr<grpc::Alarm> alarm_ GUARDED_BY(mutex_);
  bool alarm_set_ GUARDED_BY(mutex_) = false;
  // What the worker group knows the request by, while it works on it.
  std::optional<uint64_t> engine_id_ GUARDED_BY(mutex_);
  bool running_ GUARDED_BY(mutex_) = false;
  bool engine_done_ GUARDED_BY(mutex_) = false;
  bool ended_ GUARDED_BY(mutex_) = false;
  bool done_ GUARDED_BY(mutex_) = false;
  std::optional<absl::Status> final_status_ GUARDED_BY(mutex_);

  int prompt_tokens_ GUARDED_BY(mutex_) = 0;
  int completion_tokens_ GUARDED_BY(mutex_) = 0;
  absl::Time dispatched_at_ GUARDED_BY(mutex_);
  absl::Time first_token_at_ GUARDED_BY(mutex_);
  absl::Time last_token_at_ GUARDED_BY(mutex_);
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_SERVER_GENERATE_CALL_H_
