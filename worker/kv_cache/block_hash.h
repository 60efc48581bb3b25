// Names for the contents of KV blocks, by which the prefix cache finds them.
//
// The keys and values of a block depend on its tokens, on all tokens before it and on the rotary
// list. So the hash of a block is made of the hash of the block before it and its own tokens, and
// the chain begins with the rotary list and the cache salt of the request.
//
// Nothing but the hash is compared when a block is found. It is SHA-256, of which nobody knows two
// inputs with the same result: a weaker one would let a tenant choose a prompt that is taken for
// the prompt of another. And it needs no secret, so that a schedule can be had again.
#ifndef PHALANX_WORKER_KV_CACHE_BLOCK_HASH_H_
#define PHALANX_WORKER_KV_CACHE_BLOCK_HASH_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

// As OpenSSL's headers declare it, which are needed in one source only.
struct evp_md_ctx_st;

namespace phalanx {

struct BlockHash {
  std::array<uint64_t, 4> words = {};

  friend bool operator==(const BlockHash& a, const BlockHash& b) { return a.words == b.words; }
};

// Thread-compatible. Allocates nothing after construction.
class BlockHasher {
 public:
  BlockHasher();
  ~BlockHasher();

  // What the first block of a sequence has in place of a block before it.
  BlockHash Root(int rope_list, absl::string_view cache_salt);

  // The hash of a block with these tokens, kKvBlockTokens of them, behind `parent`.
  BlockHash Next(const BlockHash& parent, absl::Span<const int32_t> token_ids);

 private:
  struct FreeContext {
    void operator()(evp_md_ctx_st* context) const;
  };

  void Begin();
  void Add(const void* data, size_t bytes);
  BlockHash End();

  const std::unique_ptr<evp_md_ctx_st, FreeContext> context_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_KV_CACHE_BLOCK_HASH_H_
