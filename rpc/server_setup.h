// What the gRPC servers of both programs have in common.
#ifndef PHALANX_RPC_SERVER_SETUP_H_
#define PHALANX_RPC_SERVER_SETUP_H_

#include <cstdint>

namespace grpc {
class ServerBuilder;
}

namespace phalanx {

// Sets on `builder`, before it starts:
//  * Messages of more than `max_message_bytes`, as they travel, are RESOURCE_EXHAUSTED.
//  * gRPC does not decompress: it would inflate a message whole before it looks at its size. So
//    methods take raw bytes and give them to ReadMessage (read_message.h), which can.
//  * Clients may send keepalive pings as often as once a second, with and without calls.
//  * A silent peer is found gone after 20 s, with and without calls.
//  * A connection that says nothing is closed after 20 s.
//  * A port that is in use is an error, not shared.
// And server reflection, for every service of the server.
void SetUpServer(int64_t max_message_bytes, grpc::ServerBuilder& builder);

}  // namespace phalanx

#endif  // PHALANX_RPC_SERVER_SETUP_H_
