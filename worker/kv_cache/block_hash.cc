#include "worker/kv_cache/block_hash.h"

#include <openssl/evp.h>

#include "base/log.h"
#include "kernels/step_batch.h"

namespace phalanx {

static_assert(sizeof(BlockHash) == 32, "the size of a SHA-256");

BlockHasher::BlockHasher() : context_(EVP_MD_CTX_new()) {
  // From here on the context knows the algorithm, and Begin need not look it up.
  CHECK(context_ != nullptr && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
}

BlockHasher::~BlockHasher() = default;

void BlockHasher::FreeContext::operator()(evp_md_ctx_st* context) const {
  EVP_MD_CTX_free(context);
}

BlockHash BlockHasher::Root(int rope_list, absl::string_view cache_salt) {
  Begin();
  // The list has a fixed size, so no other pair gives the same bytes.
  const int32_t list = rope_list;
  Add(&list, sizeof(list));
  Add(cache_salt.data(), cache_salt.size());
  return End();
}

BlockHash BlockHasher::Next(const BlockHash& parent, absl::Span<const int32_t> token_ids) {
  CHECK(token_ids.size() == kernels::kKvBlockTokens) << token_ids.size();
  Begin();
  Add(parent.words.data(), sizeof(parent.words));
  Add(token_ids.data(), token_ids.size() * sizeof(int32_t));
  return End();
}

void BlockHasher::Begin() { CHECK(EVP_DigestInit_ex(context_.get(), nullptr, nullptr) == 1); }

void BlockHasher::Add(const void* data, size_t bytes) {
  CHECK(EVP_DigestUpdate(context_.get(), data, bytes) == 1);
}

BlockHash BlockHasher::End() {
  BlockHash hash;
  CHECK(EVP_DigestFinal_ex(context_.get(), reinterpret_cast<unsigned char*>(hash.words.data()),
                           nullptr) == 1);
  return hash;
}

}  // namespace phalanx
