#include "worker/group/group_secret.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <fstream>
#include <iterator>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"

namespace phalanx {
namespace {

constexpr size_t kNonceBytes = 32;

}  // namespace

std::string NewNonce() {
  std::string nonce(kNonceBytes, '\0');
  CHECK(RAND_bytes(reinterpret_cast<unsigned char*>(nonce.data()), kNonceBytes) == 1);
  return nonce;
}

absl::StatusOr<GroupSecret> GroupSecret::Read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!file) return absl::InvalidArgumentError(absl::StrCat("cannot read the secret in ", path));
  absl::StripTrailingAsciiWhitespace(&text);
  if (text.size() < kMinBytes) {
    return absl::InvalidArgumentError(absl::StrCat("the secret in ", path, " has ", text.size(),
                                                   " bytes; it needs ", kMinBytes,
                                                   ", as from openssl rand -hex 32"));
  }
  return GroupSecret(std::move(text));
}

std::string GroupSecret::Hmac(absl::string_view purpose, absl::string_view leaders_nonce,
                              const worker::v1::Join& join) const {
  // Each part is of a length that is known or is told, so that no two lists of parts give the same
  // bytes. The number of the rank is part of it: a proof is good for one place only.
  const std::string message =
      absl::StrCat(purpose, ";", leaders_nonce.size(), ";", leaders_nonce, ";", join.nonce().size(),
                   ";", join.nonce(), ";", join.rank(), ";", join.world());
  std::string digest(EVP_MAX_MD_SIZE, '\0');
  unsigned int size = 0;
  CHECK(HMAC(EVP_sha256(), secret_.data(), static_cast<int>(secret_.size()),
             reinterpret_cast<const unsigned char*>(message.data()), message.size(),
             reinterpret_cast<unsigned char*>(digest.data()), &size) != nullptr);
  digest.resize(size);
  return digest;
}

void GroupSecret::Prove(absl::string_view leaders_nonce, worker::v1::Join* join) const {
  join->set_nonce(NewNonce());
  join->set_proof(Hmac("phalanx rank", leaders_nonce, *join));
}

bool GroupSecret::Proves(absl::string_view leaders_nonce, const worker::v1::Join& join) const {
  return join.nonce().size() == kNonceBytes &&
         SameProof(join.proof(), Hmac("phalanx rank", leaders_nonce, join));
}

std::string GroupSecret::LeadersProof(absl::string_view leaders_nonce,
                                      const worker::v1::Join& join) const {
  return Hmac("phalanx leader", leaders_nonce, join);
}

bool SameProof(absl::string_view a, absl::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace phalanx
