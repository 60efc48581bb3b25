// Byte streams between the processes of a group: TCP, plain or with mutual TLS (1.3 only: both ends
// prove a certificate of the same authorities), or a Unix socket. Descriptors do not block and are
// not inherited by children.
#ifndef PHALANX_WORKER_NET_STREAM_SOCKET_H_
#define PHALANX_WORKER_NET_STREAM_SOCKET_H_

#include <atomic>
#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/host_port.h"
#include "base/unique_fd.h"
#include "worker/net/tls_credentials.h"
#include "worker/net/tls_session.h"

namespace phalanx {

// One thread may read while another writes; no more than one of each. Abort is for any thread.
// Deadlines are times of MonotonicClock().
//
// A host that is gone, or a network that is cut, without a word counts as a peer that is gone after
// kSilenceLimit if nothing is under way; else only with LimitSilence.
class StreamSocket {
 public:
  static constexpr absl::Duration kSilenceLimit = absl::Seconds(10);

  // What to do if the host says that nobody listens at the port.
  enum class IfRefused { kRetry, kFail };

  // Connects, asking for the name's address and trying until somebody listens there; with TLS,
  // until the peer has proved who it is and has believed us. UNAVAILABLE at `deadline`, CANCELLED
  // once `interrupt_fd` is readable (-1: never), PERMISSION_DENIED if one end does not prove who
  // it is. `credentials` null: without TLS. kFail is for a peer that is known to have listened:
  // UNAVAILABLE at once if it does not any more.
  static absl::StatusOr<std::unique_ptr<StreamSocket>> Connect(
      const HostPort& address, const std::shared_ptr<TlsCredentials>& credentials,
      absl::Time deadline, int interrupt_fd = -1, IfRefused if_refused = IfRefused::kRetry);
  // A socket that is connected already (TCP or Unix): takes it over, without TLS.
  static std::unique_ptr<StreamSocket> Adopt(UniqueFd socket);
  // As Adopt, but as an end of a TLS connection whose handshake is still to come, and is carried on
  // by the other functions. RESOURCE_EXHAUSTED if there is no memory.
  static absl::StatusOr<std::unique_ptr<StreamSocket>> AdoptTls(UniqueFd socket,
                                                                TlsCredentials& credentials,
                                                                TlsSession::End end);
  StreamSocket(const StreamSocket&) = delete;
  StreamSocket& operator=(const StreamSocket&) = delete;

  // Whole blocks. DEADLINE_EXCEEDED, ABORTED after Abort, UNAVAILABLE if the peer is gone,
  // DATA_LOSS if TLS fails, PERMISSION_DENIED if its handshake does. After an error the stream
  // cannot be used any more.
  absl::Status Read(absl::Span<std::byte> data, absl::Time deadline);
  absl::Status Write(absl::Span<const std::byte> data, absl::Time deadline);

  // What has come already, at most data.size(); 0 if nothing has. Never blocks. Errors are those of
  // Read.
  absl::StatusOr<size_t> ReadSome(absl::Span<std::byte> data);
  // What can be written now without blocking; 0 if nothing can. What was offered then must be
  // offered first the next time, possibly with more behind it. Errors are those of Write.
  absl::StatusOr<size_t> WriteSome(absl::Span<const std::byte> data);

  // Completes the handshake; at once without TLS. Errors are those of Read, and CANCELLED once
  // `interrupt_fd` is readable (-1: never).
  absl::Status Handshake(absl::Time deadline, int interrupt_fd = -1);
  // False while a TLS handshake goes on.
  bool ready() const { return tls_ == nullptr || tls_->ready(); }

  // Whether ReadSome has bytes that fd() does not show as readable, as TLS may.
  bool has_buffered() const { return tls_ != nullptr && tls_->has_buffered(); }

  // Any thread, any number of times: blocked and later calls fail with ABORTED, the peer sees the
  // end.
  void Abort();

  // From now on the peer also counts as gone once it has not acknowledged, or not read, what was
  // sent to it for `limit`. For a peer that always reads: one that is busy for longer is lost, too.
  void LimitSilence(absl::Duration limit);

  // For waiting. To be closed by nobody else.
  int fd() const { return socket_.get(); }
  // Who is at the other end, for logs: "10.0.0.2:41234", or "process 123" for a Unix socket.
  const std::string& peer() const { return peer_; }

 private:
  explicit StreamSocket(UniqueFd socket);
  absl::StatusOr<TlsSession::Progress> TryRead(absl::Span<std::byte> data);
  absl::StatusOr<TlsSession::Progress> TryWrite(absl::Span<const std::byte> data);
  // Blocks until one of `events` or Abort. `usual` is what such a call waits for.
  absl::Status Await(short events, short usual, absl::Time deadline, int interrupt_fd = -1);
  // `status`, or ABORTED if Abort is why.
  absl::Status Explain(const absl::Status& status) const;

  const UniqueFd socket_;
  const UniqueFd abort_event_;
  const std::string peer_;
  std::atomic<bool> aborted_ = false;
  // Null: without TLS. Uses socket_.
  std::unique_ptr<TlsSession> tls_;
};

class StreamListener {
 public:
  // Listens at `address` (base/listen_socket.h), on a free port if its port is 0. `credentials`
  // null: without TLS. Errors are those of Listen.
  static absl::StatusOr<StreamListener> Create(const HostPort& address,
                                               std::shared_ptr<TlsCredentials> credentials);

  // Readable when a connection waits.
  int fd() const { return socket_.get(); }
  int port() const { return port_; }

  // A connection that waits. Never blocks, and does not wait for the handshake either. UNAVAILABLE
  // if none waits or the system cannot accept it; RESOURCE_EXHAUSTED if there is no memory.
  absl::StatusOr<std::unique_ptr<StreamSocket>> Accept();

 private:
  StreamListener(UniqueFd socket, int port, std::shared_ptr<TlsCredentials> credentials)
      : socket_(std::move(socket)), port_(port), credentials_(std::move(credentials)) {}

  UniqueFd socket_;
  int port_;
  std::shared_ptr<TlsCredentials> credentials_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_NET_STREAM_SOCKET_H_
