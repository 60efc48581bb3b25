// What OpenSSL says about its last failure in this thread.
#ifndef PHALANX_WORKER_NET_OPENSSL_ERROR_H_
#define PHALANX_WORKER_NET_OPENSSL_ERROR_H_

#include <openssl/err.h>

#include <string>

namespace phalanx {

// The oldest error that OpenSSL keeps for this thread, in words; all are forgotten then.
inline std::string TakeOpensslError() {
  const unsigned long error = ERR_get_error();
  ERR_clear_error();
  const char* const reason = ERR_reason_error_string(error);
  return reason != nullptr ? reason : "unknown reason";
}

}  // namespace phalanx

#endif  // PHALANX_WORKER_NET_OPENSSL_ERROR_H_
