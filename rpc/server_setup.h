// What the gRPC servers of both programs have in common.
#ifndef PHALANX_RPC_SERVER_SETUP_H_
#define PHALANX_RPC_SERVER_SETUP_H_

#include <cstdint>

namespace grpc {
class ServerBuilder;
}

namespace phalanx {

// Sets on `builder`, before it starts:
// - Messages of more than `max_message_bytes`, as they travel, are RESOURCE_EXHAUSTED.
// - gRPC does not decompress, because it would inflate a whole message before it looks at its size.
// So
//   methods take raw bytes and give them to ReadMessage (read_message.h), which has a bound.
// - Clients may send keepalive pings as often as once a second, with and without calls.
// - A silent peer is found to be gone after 20 s, with and without calls.
// - A connection on which nothing comes is closed after 20 s.
// - A port that is in use is an error, and is not shared.
// - Server reflection tells about every service of the server.
void SetUpServer(int64_t max_message_bytes, grpc::ServerBuilder& builder);

}  // namespace phalanx

#endif  // PHALANX_RPC_SERVER_SETUP_H_
