// Merges byte pairs within one piece of text.
#ifndef PHALANX_COORDINATOR_TEXT_TOKENIZER_BYTE_PAIR_ENCODER_H_
#define PHALANX_COORDINATOR_TEXT_TOKENIZER_BYTE_PAIR_ENCODER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/text/tokenizer_assets.h"

namespace phalanx {

// Thread-safe; immutable. Starts from single bytes and joins, again and again, the adjacent pair
// whose merge has the lowest rank, the leftmost on ties. Source: Sennrich et al. 2016, arXiv
// 1508.07909; `Word::merge_all` in Hugging Face tokenizers.
class BytePairEncoder {
 public:
  // `assets` is lent: its strings must outlive the encoder, and must not be moved. INVALID_ARGUMENT
  // if a merge is of ids outside the vocabulary or makes no normal token.
  static absl::StatusOr<BytePairEncoder> Create(const TokenizerAssets& assets);

  // Appends the tokens of `piece`. A byte that has no token is left out, as Hugging Face does for
  // vocabularies without an unknown token. Returns how many pairs were looked up, which are at most
  // three for each byte. All other work is O(n log n) in the bytes.
  size_t Encode(absl::string_view piece, std::vector<int32_t>* token_ids) const;

 private:
  struct Merge {
    int32_t rank = 0;
    int32_t merged_id = 0;
  };

  BytePairEncoder() = default;
  absl::Status AddMerges(const TokenizerAssets& assets);
  void AddWholePieces(const TokenizerAssets& assets);

  const Merge* FindMerge(int32_t left, int32_t right) const;
  size_t MergeShort(absl::string_view piece, std::vector<int32_t>* token_ids) const;
  size_t MergeLong(absl::string_view piece, std::vector<int32_t>* token_ids) const;

  std::array<int32_t, 256> byte_ids_{};
  // The merges by left id and right id.
  absl::flat_hash_map<uint64_t, Merge> merges_;
  // The ids that merges make, by rank.
  std::vector<int32_t> merged_ids_;
  // Pieces whose encoding is one token, which is most of them.
  absl::flat_hash_map<absl::string_view, int32_t> whole_pieces_;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_TOKENIZER_BYTE_PAIR_ENCODER_H_
