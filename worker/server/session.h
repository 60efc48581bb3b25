// One coordinator's stream: phalanx.worker.v1.Engine.Session on the callback API.
#ifndef PHALANX_WORKER_SERVER_SESSION_H_
#define PHALANX_WORKER_SERVER_SESSION_H_

#include <cstddef>
#include <cstdint>
#include <functional>

#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "phalanx/worker/v1/engine.pb.h"
#include "worker/engine/engine.h"

namespace phalanx {

// Of one command on the wire, compressed or not.
inline constexpr int64_t kMaxCommandBytes = int64_t{4} << 20;

using SessionReactor = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

// A stream that was just opened. It says and reads nothing until it is greeted; from then on it
// reads commands and writes events. It ends
//  * OK when the peer has closed its side,
//  * INVALID_ARGUMENT after bytes that are no SessionRequest, or that would take more memory than a
//    small multiple of kMaxCommandBytes,
//  * RESOURCE_EXHAUSTED when more than `max_queued_bytes` wait for a peer that does not read,
//  * UNAVAILABLE or INTERNAL with the engine, after the last events.
// Its requests are cancelled with it. Messages travel as bytes because generated methods would
// report garbage like an orderly end.
class GreetableSession : public SessionReactor {
 public:
  // Says `hello` and starts to serve. Once.
  virtual void Greet(const worker::v1::Hello& hello) = 0;
};

// The session frees itself when the stream is over. Before that it calls `on_done`, after which it
// may not be greeted, and afterwards `on_gone`, its last act.
GreetableSession* NewSession(Engine* engine, size_t max_queued_bytes,
                             std::function<void(GreetableSession*)> on_done,
                             std::function<void()> on_gone);

}  // namespace phalanx

#endif  // PHALANX_WORKER_SERVER_SESSION_H_
