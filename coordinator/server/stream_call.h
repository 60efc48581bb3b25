// A call with a stream of answers, from its bytes to its last event: what Generate and Score share.
#ifndef PHALANX_COORDINATOR_SERVER_STREAM_CALL_H_
#define PHALANX_COORDINATOR_SERVER_STREAM_CALL_H_

#include <grpcpp/alarm.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "coordinator/admission/request_gate.h"
#include "coordinator/routing/group_session.h"
#include "coordinator/server/serving_environment.h"

namespace phalanx {

// Runs on whatever thread brings news: gRPC's (arrival, cancellation, a write that is done), the
// text pool's (the prompt), a session's (what the engine computed), an alarm's (a stall). The first
// that ends the call decides its status; that is counted and logged there, once.
//
// Keeps itself alive until gRPC is done with it. Holding mutex_, it calls only gRPC, which does not
// call back on the same thread.
class StreamCall : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                   public GenerationSink,
                   public std::enable_shared_from_this<StreamCall> {
 public:
  // Takes the call up. The reactor goes back to gRPC.
  static grpc::ServerWriteReactor<grpc::ByteBuffer>* Start(const std::shared_ptr<StreamCall>& call,
                                                           const grpc::ByteBuffer& bytes);

 protected:
  struct Event {
    grpc::ByteBuffer bytes;
    // No other follows, and the call has ended well.
    bool last = false;
  };

  // `environment` must outlive the call. `method` must be a literal: it is the metric's label.
  StreamCall(const ServingEnvironment* environment, const char* method,
             grpc::CallbackServerContext* context);

  // --- For a kind of call to implement, in the order in which they are called. ---

  // Parses and checks the request, on gRPC's thread.
  virtual absl::Status Parse(const grpc::ByteBuffer& bytes) = 0;
  // The text that Prepare has to work on, so that it must run on the text pool; nullopt for none.
  virtual std::optional<int64_t> TextBytes() const = 0;
  // The errors are for the client.
  virtual absl::StatusOr<EngineRequest> Prepare() = 0;
  // The request is about to be given to a worker group, and what was parsed is needed no more.
  virtual void Dispatching(const EngineRequest& request) EXCLUSIVE_LOCKS_REQUIRED(mutex_) = 0;
  // The next event for the client, or nullopt if there is none yet. Not called before a worker
  // group has accepted the request: until then a refusal is the first that the client hears, so
  // that it may try elsewhere.
  virtual std::optional<Event> TakeEvent() EXCLUSIVE_LOCKS_REQUIRED(mutex_) = 0;
  // Counts what the kind of call has of its own; returns words for the log, "a=1 b=2".
  virtual std::string Settled(const absl::Status& status, absl::Duration total)
      EXCLUSIVE_LOCKS_REQUIRED(mutex_) = 0;

  // --- For a kind of call to use. ---

  // Writes the next event, if there is one and no write is under way.
  void Pump() EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What the engine computes from now on is not wanted. The result, if any, is to be cancelled in
  // the registry once mutex_ is free.
  std::optional<uint64_t> ReleaseEngine() EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Set once the call has failed: the text of its prompt is needed no more.
  const std::atomic<bool>& unwanted() const { return unwanted_; }
  // Whether to heed what the engine sends.
  bool Listening() const EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !ended_ && !engine_done_; }
  // Ends the call with `status`, not OK; nothing if it has ended. A client that does not read would
  // hold the write under way for ever: abandoning it drops what is unread, so that the client, when
  // it reads on, sees `status` next.
  void End(const absl::Status& status, bool abandon_write = false);
  // Ends the call if the client has left more unread than is allowed.
  void CheckUnread(int64_t buffered_bytes);
  absl::Duration TimeLeft() const;

  const ServingEnvironment& environment_;
  const std::string id_;
  const absl::Time arrived_at_;

  Mutex mutex_;
  absl::Time dispatched_at_ GUARDED_BY(mutex_);
  // 0 until the request was dispatched.
  int prompt_tokens_ GUARDED_BY(mutex_) = 0;

 private:
  // --- The way in; each step calls the next. ---
  void Arrive(const grpc::ByteBuffer& bytes);
  absl::Status Admit(const grpc::ByteBuffer& bytes);
  absl::Status Dispatch();

  void OnAccepted() override;
  void OnStarted() override;
  void OnFailed(const absl::Status& status) override { End(status); }

  // --- The end. ---
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;
  // Sends the final status, unless a write is under way: then the end of that does.
  void FinishIfIdle() EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Abandon(const absl::Status& status) EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Counts and logs.
  void Settle(const absl::Status& status) EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // A write that takes too long: the alarm looks at the one under way and comes back for the next.
  void WatchWrite() EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SetAlarm(absl::Duration delay) EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnAlarm();

  bool Ended();

  const char* const method_;
  // Gone once done_.
  grpc::CallbackServerContext* const context_;
  // The caller's; infinitely far without one.
  const absl::Time deadline_;
  std::shared_ptr<StreamCall> self_;
  std::optional<RequestGate::Ticket> ticket_;
  std::atomic<bool> unwanted_ = false;

  grpc::ByteBuffer outgoing_ GUARDED_BY(mutex_);
  bool writing_ GUARDED_BY(mutex_) = false;
  bool last_event_taken_ GUARDED_BY(mutex_) = false;
  absl::Time write_started_at_ GUARDED_BY(mutex_);
  std::unique_ptr<grpc::Alarm> alarm_ GUARDED_BY(mutex_);
  bool alarm_set_ GUARDED_BY(mutex_) = false;
  // What the worker group knows the request by, while it works on it.
  std::optional<uint64_t> engine_id_ GUARDED_BY(mutex_);
  // A worker group has taken the request in.
  bool accepted_ GUARDED_BY(mutex_) = false;
  // A worker group works on it.
  bool running_ GUARDED_BY(mutex_) = false;
  bool engine_done_ GUARDED_BY(mutex_) = false;
  bool ended_ GUARDED_BY(mutex_) = false;
  bool done_ GUARDED_BY(mutex_) = false;
  std::optional<absl::Status> final_status_ GUARDED_BY(mutex_);
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_SERVER_STREAM_CALL_H_
