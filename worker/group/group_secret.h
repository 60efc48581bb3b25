// What the ranks of a group prove to each other where there are no certificates: that they know the
// same secret, which itself is never sent. Each end makes up a nonce, and the other answers with an
// HMAC (SHA-256) over both. That keeps strangers out of the group, but protects nothing that is
// said later: whoever can change what is on the network can join into it.
#ifndef PHALANX_WORKER_GROUP_GROUP_SECRET_H_
#define PHALANX_WORKER_GROUP_GROUP_SECRET_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "phalanx/worker/v1/rank.pb.h"

namespace phalanx {

// 32 random bytes, which are never used again.
std::string NewNonce();

class GroupSecret {
 public:
  // Shorter ones could be guessed by trying.
  static constexpr size_t kMinBytes = 16;

  // Of a file, without the white space at its end. INVALID_ARGUMENT, naming the file, if it cannot
  // be read or has less than kMinBytes.
  static absl::StatusOr<GroupSecret> Read(const std::string& path);
  explicit GroupSecret(std::string secret) : secret_(std::move(secret)) {}

  // The rank's end: puts a nonce of its own into `join`, and the proof for the leader's nonce.
  void Prove(absl::string_view leaders_nonce, worker::v1::Join* join) const;
  // The leader's end: whether that proof is right.
  bool Proves(absl::string_view leaders_nonce, const worker::v1::Join& join) const;
  // What the leader answers: the proof for the nonce of `join`.
  std::string LeadersProof(absl::string_view leaders_nonce, const worker::v1::Join& join) const;

 private:
  std::string Hmac(absl::string_view purpose, absl::string_view leaders_nonce,
                   const worker::v1::Join& join) const;

  std::string secret_;
};

// Whether two proofs are the same, in a time that does not tell where they differ.
bool SameProof(absl::string_view a, absl::string_view b);

}  // namespace phalanx

#endif  // PHALANX_WORKER_GROUP_GROUP_SECRET_H_
