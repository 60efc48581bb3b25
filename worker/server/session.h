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

// Limit on the size of one command on the wire, compressed or not.
inline constexpr int64_t kMaxCommandBytes = int64_t{4} << 20;

using SessionReactor = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

// A stream that was just opened. It neither sends nor reads anything before Greet; then it reads
// commands and writes events. It ends
// - with CANCELLED when the peer cancels the call, which is how a session is ended,
// - with RESOURCE_EXHAUSTED after a message of more than kMaxCommandBytes, and when the peer only
//   closes its side, which cannot be told from the former,
// - with INVALID_ARGUMENT after bytes that are not a SessionRequest, or that would take more memory
//   than a small multiple of kMaxCommandBytes,
// - with RESOURCE_EXHAUSTED when more than `max_queued_bytes` wait for a peer that does not read,
// - with UNAVAILABLE or INTERNAL when the engine ends, after the last events.
// Its requests are cancelled when it ends. Messages travel as bytes because with generated methods
// bytes that are not a message would look like an orderly end.
class GreetableSession : public SessionReactor {
 public:
  // Sends `hello` and begins to serve. To be called once.
  virtual void Greet(const worker::v1::Hello& hello) = 0;
};

// The session deletes itself when the stream is over. Before that it calls `on_done`, after which
// Greet must not be called any more, and last of all `on_gone`.
GreetableSession* NewSession(Engine* engine, size_t max_queued_bytes,
                             std::function<void(GreetableSession*)> on_done,
                             std::function<void()> on_gone);

}  // namespace phalanx

#endif  // PHALANX_WORKER_SERVER_SESSION_H_
