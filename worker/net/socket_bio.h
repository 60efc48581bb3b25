// How OpenSSL reads and writes a socket here. Its own way of doing so (BIO_s_socket) writes without
// MSG_NOSIGNAL, so that a peer that is gone would end this process by SIGPIPE.
#ifndef PHALANX_WORKER_NET_SOCKET_BIO_H_
#define PHALANX_WORKER_NET_SOCKET_BIO_H_

#include <openssl/bio.h>

namespace phalanx {

// A BIO on `fd`, a non-blocking socket, which is lent. Null if there is no memory. After an
// operation that has failed, errno is that of the system's call; 0 at the end of the stream.
BIO* NewSocketBio(int fd);

}  // namespace phalanx

#endif  // PHALANX_WORKER_NET_SOCKET_BIO_H_
