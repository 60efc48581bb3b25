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

// Starts to serve a stream that was just opened. The session reads commands, writes events, and
// frees itself when the stream is over, then calls `on_gone`, its last act. It ends
//  * OK when the peer has closed its side,
//  * INVALID_ARGUMENT after bytes that are no SessionRequest, or that would take more memory than a
//    small multiple of kMaxCommandBytes,
//  * RESOURCE_EXHAUSTED when more than `max_queued_bytes` wait for a peer that does not read,
//  * UNAVAILABLE or INTERNAL with the engine, after the last events.
// Its requests are cancelled with it. Messages travel as bytes because generated methods would
// report garbage like an orderly end.
SessionReactor* StartSession(Engine* engine, const worker::v1::Hello& hello,
                             size_t max_queued_bytes, std::function<void()> on_gone);

}  // namespace phalanx

#endif  // PHALANX_WORKER_SERVER_SESSION_H_
