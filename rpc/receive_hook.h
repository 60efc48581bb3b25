// Lets a function see what a socket of this process receives, before the library that reads it.
#ifndef PHALANX_RPC_RECEIVE_HOOK_H_
#define PHALANX_RPC_RECEIVE_HOOK_H_

#include <functional>

#include "absl/types/span.h"

namespace phalanx {

// May change the bytes in place. Returning false ends the connection: its reader is told that the
// peer has closed it.
using ReceiveFilter = std::function<bool(absl::Span<char>)>;

// After this call all that recvmsg gives of this socket passes through `filter` first, whoever in
// this process calls recvmsg. gRPC 1.51 reads its sockets with it, and offers no other place
// between the socket and its HTTP/2 parser. On an encrypted connection the filter would see
// encrypted bytes.
//
// Linking this library replaces libc's recvmsg by one that asks for a filter and then calls libc's.
//
// The filter is called on the thread that reads, by one thread at a time. It is destroyed some time
// after the socket is closed: at the latest when another socket that was given the same number
// receives something. Thread-safe.
void SetReceiveFilter(int socket, ReceiveFilter filter);

}  // namespace phalanx

#endif  // PHALANX_RPC_RECEIVE_HOOK_H_
