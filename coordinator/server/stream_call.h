// What Generate and Score share: a call from its bytes to its status, with a stream of events as
// its answer.
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
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "coordinator/admission/request_gate.h"
#include "coordinator/routing/group_session.h"
#include "coordinator/server/request_id.h"
#include "coordinator/server/serving_environment.h"

namespace phalanx {

// Runs on whatever thread brings news: gRPC's (arrival, cancellation, a write that is over), the
// text pool's (the prompt), a session's (what the engine computed), an alarm's (a client that does
// not read).
//
// How a call ends, in the words of ARCHITECTURE.md: its answer may finish, which the last event
// tells. The call itself ends once, with the first reason that comes up; that decides its status,
// and settles it (metrics and log) in the same moment. The engine is done when it has nothing more
// to say about the request, gRPC when it has nothing more to say about the call.
//
// Keeps itself alive until gRPC is done with it. While it holds mutex_ it calls only gRPC, which
// does not call back on the same thread.
//
// A call may have several engine requests, which Prepare makes and which go by their index from
// then on. The first of them that fails ends the call, and a call that ends cancels all of them.
class StreamCall : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                   public std::enable_shared_from_this<StreamCall> {
 public:
  // Begins the call. Returns its reactor, for gRPC.
  static grpc::ServerWriteReactor<grpc::ByteBuffer>* Start(const std::shared_ptr<StreamCall>& call,
                                                           const grpc::ByteBuffer& bytes);

 protected:
  struct Event {
    grpc::ByteBuffer bytes;
    // The event tells that the answer is finished. No event follows it, and once it is written the
    // call ends with OK.
    bool finished = false;
  };

  // `environment` must outlive the call. `method` must be a literal: it is the metric's label.
  StreamCall(const ServingEnvironment* environment, const char* method,
             grpc::CallbackServerContext* context);

  // Each kind of call implements Parse, TextBytes, Prepare and Dispatching, which are called once
  // each and in this order, as far as the call comes; TakeEvent, which is called again and again
  // after Dispatching; and SettleKind, which is called once, when the call ends.

  // Parses and checks the request, on gRPC's thread.
  virtual absl::Status Parse(const grpc::ByteBuffer& bytes) = 0;
  // The bytes of text that Prepare has to work on, so that it must run on the text pool; nullopt if
  // there is no text.
  virtual std::optional<int64_t> TextBytes() const = 0;
  // Makes the requests for the engine, one at least, all with the same prompt. Errors become the
  // status that the client gets.
  virtual absl::StatusOr<std::vector<EngineRequest>> Prepare() = 0;
  // Called just before the requests are given to a worker group. What was parsed is not needed any
  // more.
  virtual void Dispatching(const std::vector<EngineRequest>& requests)
      EXCLUSIVE_LOCKS_REQUIRED(mutex_) = 0;
  // What comes back for the engine request of this index, as GenerationSink has it. Calls for
  // different ones may come at the same time.
  virtual void OnCachedTokens(int index, int cached_tokens) = 0;
  virtual void OnDraft(int index, int drafted, int accepted) = 0;
  virtual void OnTokens(int index, absl::Span<const int32_t> token_ids,
                        absl::Span<const TokenLogProbs> log_probs) = 0;
  virtual void OnLogProbs(int index, absl::Span<const float> log_probs) = 0;
  virtual void OnFinished(int index, const EngineFinish& finish) = 0;
  // Returns the next event for the client, or nullopt if there is none yet. Not called before
  // worker groups have accepted all the requests: a client that gets a refusal before anything else
  // may try again elsewhere.
  virtual std::optional<Event> TakeEvent() EXCLUSIVE_LOCKS_REQUIRED(mutex_) = 0;
  // The part of Settle that depends on the kind of call: counts what it has of its own, and returns
  // words for the log, such as "a=1 b=2".
  // How many tokens of an answer have been sent; none if no answer has begun.
  virtual std::optional<int> TokensSent() const EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return std::nullopt;
  }
  virtual std::string SettleKind(const absl::Status& status, absl::Duration total)
      EXCLUSIVE_LOCKS_REQUIRED(mutex_) = 0;

  // Writes the next event, if there is one and no write is under way.
  void Pump() EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Notes that the engine is done with the request of this index: either it has said so, or the
  // answer needs nothing more of it. In the second case the caller must cancel the result, if there
  // is one, in the registry, after it has released mutex_.
  std::optional<uint64_t> EngineIsDone(int index) EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Becomes true soon after the call has ended without finishing. Text work for it may then break
  // off.
  const std::atomic<bool>& cancelled() const { return cancelled_; }
  // Whether what the engine sends is still wanted. It may come late: from a thread that was under
  // way when the call ended.
  bool Listening(int index) const EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !ended_ && !engine_requests_[index].done;
  }
  // Ends the call with `status`, which must not be OK. Does nothing if the call has ended already.
  // A client that does not read would hold up the write under way, and with it the status, for
  // ever. With `drop_unread` such a write is dropped, and the client sees `status` when it reads
  // on.
  void End(const absl::Status& status, bool drop_unread = false);
  // Ends the call if the client has left more of its answer unread than is allowed.
  void CheckUnread(int64_t buffered_bytes);
  absl::Duration TimeLeft() const;

  const ServingEnvironment& environment_;
  const RequestId id_;
  const absl::Time arrived_at_;

  Mutex mutex_;
  absl::Time dispatched_at_ GUARDED_BY(mutex_);
  // 0 until Dispatch has prepared the request.
  int prompt_tokens_ GUARDED_BY(mutex_) = 0;

 private:
  // Takes what comes back for one engine request.
  class Receiver;

  struct EngineRequestState {
    // The registry's number for the request, while it has it and the call wants its answer.
    std::optional<uint64_t> id;
    // See EngineIsDone.
    bool done = false;
  };

  // Arrive calls Admit and then Dispatch, either itself or on the text pool. Dispatch gives the
  // requests to a worker group, from which OnAccepted and OnStarted come.
  void Arrive(const grpc::ByteBuffer& bytes);
  absl::Status Admit(const grpc::ByteBuffer& bytes);
  absl::Status Dispatch();

  // Each is called once for each engine request that comes so far.
  void OnAccepted();
  void OnStarted();

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;
  // Sends status_to_send_, if there is one. If a write is under way nothing is sent: OnWriteDone
  // calls this again.
  void SendStatusIfIdle() EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DropUnread(const absl::Status& status) EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Counts and logs the call. Called once, when it ends.
  void Settle(const absl::Status& status) EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Notes that a write begins, and has the alarm look after it. There is one alarm for all writes:
  // if the write that it was set for is over when it goes off, it is set again for the current one.
  void WatchWrite() EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SetAlarm(absl::Duration delay) EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnAlarm();

  bool Ended();

  const char* const method_;
  // Valid until gRPC is done with the call (done_).
  grpc::CallbackServerContext* const context_;
  // The client's deadline; infinitely far if it gave none.
  const absl::Time deadline_;
  // gRPC holds the reactor by a plain pointer, so the call owns itself until OnDone.
  std::shared_ptr<StreamCall> self_;
  std::optional<RequestGate::Ticket> ticket_;
  std::atomic<bool> cancelled_ = false;

  // The event that is being written, if writing_. gRPC reads it until OnWriteDone.
  grpc::ByteBuffer outgoing_ GUARDED_BY(mutex_);
  bool writing_ GUARDED_BY(mutex_) = false;
  // The event that tells the finish has been taken, so there is none left.
  bool finished_taken_ GUARDED_BY(mutex_) = false;
  absl::Time write_started_at_ GUARDED_BY(mutex_);
  std::unique_ptr<grpc::Alarm> alarm_ GUARDED_BY(mutex_);
  bool alarm_set_ GUARDED_BY(mutex_) = false;
  // By index; empty until Dispatch has prepared them.
  std::vector<EngineRequestState> engine_requests_ GUARDED_BY(mutex_);
  // How many of them worker groups have accepted, and whether that is all.
  size_t num_accepted_ GUARDED_BY(mutex_) = 0;
  bool accepted_ GUARDED_BY(mutex_) = false;
  // A worker group has begun to work on one of them. Decides which gauge the call is counted in.
  bool running_ GUARDED_BY(mutex_) = false;
  // The call has its status, though the client may not have it yet.
  bool ended_ GUARDED_BY(mutex_) = false;
  // gRPC has called OnDone: context_ and environment_ may be gone.
  bool done_ GUARDED_BY(mutex_) = false;
  // Set by End, and taken by SendStatusIfIdle.
  std::optional<absl::Status> status_to_send_ GUARDED_BY(mutex_);
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_SERVER_STREAM_CALL_H_
