#include "coordinator/text/tokenizer/byte_pair_encoder.h"

#include <algorithm>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "coordinator/text/tokenizer/merge_queue.h"

namespace phalanx {
namespace {

constexpr int kNone = -1;

// Up to this many bytes, looking through all pairs for the best one is faster than a heap.
constexpr size_t kShortPiece = 48;

uint64_t PairKey(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

// MergeLong begins with one place for each byte. A token covers the places of the bytes that it was
// made of. Its first place holds it, and other_end leads from its first place to its last and back.
// The places between hold nothing of use any more.
struct Place {
  int32_t id;
  // The rank of the merge with the next token, or kNone if there is none.
  int32_t rank;
  int32_t other_end;
};

}  // namespace

absl::StatusOr<BytePairEncoder> BytePairEncoder::Create(const TokenizerAssets& assets) {
  BytePairEncoder encoder;
  encoder.byte_ids_.fill(kNone);
  for (size_t id = 0; id < assets.token_bytes.size(); ++id) {
    const std::string& bytes = assets.token_bytes[id];
    if (assets.token_kinds[id] == TokenKind::kNormal && bytes.size() == 1) {
      encoder.byte_ids_[static_cast<uint8_t>(bytes[0])] = static_cast<int32_t>(id);
    }
  }
  RETURN_IF_ERROR(encoder.AddMerges(assets));
  encoder.AddWholePieces(assets);
  return encoder;
}

absl::Status BytePairEncoder::AddMerges(const TokenizerAssets& assets) {
  absl::flat_hash_map<absl::string_view, int32_t> ids;
  ids.reserve(assets.token_bytes.size());
  for (size_t id = 0; id < assets.token_bytes.size(); ++id) {
    if (assets.token_kinds[id] != TokenKind::kNormal) continue;
    ids.emplace(assets.token_bytes[id], static_cast<int32_t>(id));
  }
  const auto is_token = [&](int32_t id) {
    return id >= 0 && static_cast<size_t>(id) < assets.token_bytes.size();
  };
  merges_.reserve(assets.merges.size());
  merged_ids_.reserve(assets.merges.size());
  std::string bytes;
  for (size_t rank = 0; rank < assets.merges.size(); ++rank) {
    const auto [left, right] = assets.merges[rank];
    if (!is_token(left) || !is_token(right)) {
      return absl::InvalidArgumentError(
          absl::StrCat("merge ", rank, " of the tokenizer is of ids outside the vocabulary"));
    }
    // A merge is known only by its two parts. The token that it makes is the one with their bytes.
    bytes.assign(assets.token_bytes[left]).append(assets.token_bytes[right]);
    const auto merged = ids.find(bytes);
    if (merged == ids.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("merge ", rank, " of the tokenizer makes no token"));
    }
    merged_ids_.push_back(merged->second);
    // If a pair is there twice, its last rank counts, as in the hash map of Hugging Face
    // tokenizers.
    merges_.insert_or_assign(PairKey(left, right),
                             Merge{static_cast<int32_t>(rank), merged->second});
  }
  return absl::OkStatus();
}

void BytePairEncoder::AddWholePieces(const TokenizerAssets& assets) {
  whole_pieces_.reserve(assets.token_bytes.size());
  std::vector<int32_t> ids;
  for (size_t id = 0; id < assets.token_bytes.size(); ++id) {
    const std::string& bytes = assets.token_bytes[id];
    if (assets.token_kinds[id] != TokenKind::kNormal || bytes.empty()) continue;
    // With ignore_merges, a piece that is a token counts as it whatever the merges would make.
    bool whole = assets.ignore_merges;
    if (!whole) {
      // This token is not in the table yet, so Encode merges its bytes.
      ids.clear();
      Encode(bytes, &ids);
      whole = ids.size() == 1 && ids[0] == static_cast<int32_t>(id);
    }
    if (whole) whole_pieces_.emplace(bytes, static_cast<int32_t>(id));
  }
}

const BytePairEncoder::Merge* BytePairEncoder::FindMerge(int32_t left, int32_t right) const {
  const auto it = merges_.find(PairKey(left, right));
  return it == merges_.end() ? nullptr : &it->second;
}

size_t BytePairEncoder::Encode(absl::string_view piece, std::vector<int32_t>* token_ids) const {
  if (const auto whole = whole_pieces_.find(piece); whole != whole_pieces_.end()) {
    token_ids->push_back(whole->second);
    return 0;
  }
  return piece.size() <= kShortPiece ? MergeShort(piece, token_ids) : MergeLong(piece, token_ids);
}

size_t BytePairEncoder::MergeShort(absl::string_view piece, std::vector<int32_t>* token_ids) const {
  constexpr Merge kNoMerge = {std::numeric_limits<int32_t>::max(), kNone};
  std::array<int32_t, kShortPiece> ids;
  // merges[i] is the merge of ids[i] and ids[i + 1].
  std::array<Merge, kShortPiece> merges;
  int count = 0;
  for (const char byte : piece) {
    const int32_t id = byte_ids_[static_cast<uint8_t>(byte)];
    if (id != kNone) ids[count++] = id;
  }
  size_t lookups = 0;
  const auto look_up = [&](int left) {
    ++lookups;
    const Merge* const merge = FindMerge(ids[left], ids[left + 1]);
    merges[left] = merge == nullptr ? kNoMerge : *merge;
  };
  for (int i = 0; i + 1 < count; ++i) look_up(i);
  while (count > 1) {
    // min_element returns the first of equal ranks, which is the leftmost pair.
    const auto* const best =
        std::min_element(merges.begin(), merges.begin() + count - 1,
                         [](const Merge& a, const Merge& b) { return a.rank < b.rank; });
    if (best->merged_id == kNone) break;
    const auto at = static_cast<int>(best - merges.begin());
    ids[at] = best->merged_id;
    // Closes the gap. Only the pairs of the new token with its neighbours have to be looked up
    // again.
    std::copy(ids.begin() + at + 2, ids.begin() + count, ids.begin() + at + 1);
    std::copy(merges.begin() + at + 1, merges.begin() + count - 1, merges.begin() + at);
    --count;
    if (at > 0) look_up(at - 1);
    if (at + 1 < count) look_up(at);
  }
  token_ids->insert(token_ids->end(), ids.begin(), ids.begin() + count);
  return lookups;
}

size_t BytePairEncoder::MergeLong(absl::string_view piece, std::vector<int32_t>* token_ids) const {
  std::vector<Place> places;
  places.reserve(piece.size());
  for (const char byte : piece) {
    const int32_t id = byte_ids_[static_cast<uint8_t>(byte)];
    if (id != kNone) places.push_back({id, kNone, static_cast<int32_t>(places.size())});
  }
  const auto end = static_cast<int32_t>(places.size());

  MergeQueue queue(places.size());
  size_t lookups = 0;
  const auto consider = [&](int32_t at) {
    Place& left = places[at];
    left.rank = kNone;
    const int32_t next = left.other_end + 1;
    if (next == end) return;
    ++lookups;
    const Merge* const merge = FindMerge(left.id, places[next].id);
    if (merge == nullptr) return;
    left.rank = merge->rank;
    queue.Push({merge->rank, at});
  };
  for (int32_t at = 0; at < end; ++at) consider(at);
  while (!queue.empty()) {
    const MergeQueue::Pair best = queue.Pop();
    Place& left = places[best.place];
    // The entry is out of date: one of its two tokens has been merged since. If the pair has the
    // same rank nevertheless, it is to be merged all the same.
    if (left.rank != best.rank) continue;
    Place& right = places[left.other_end + 1];
    left.id = merged_ids_[best.rank];
    left.other_end = right.other_end;
    // No token begins at this place any more, which makes the queue's entries for it out of date.
    right.rank = kNone;
    places[left.other_end].other_end = best.place;
    // The place before is the last one of the token before.
    if (best.place > 0) consider(places[best.place - 1].other_end);
    consider(best.place);
  }
  for (int32_t at = 0; at < end; at = places[at].other_end + 1) token_ids->push_back(places[at].id);
  return lookups;
}

}  // namespace phalanx
