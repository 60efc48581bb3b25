#include "coordinator/text/byte_pair_encoder.h"

#include <queue>
#include <string>
#include <tuple>

#include "absl/strings/str_cat.h"

namespace phalanx {
namespace {

constexpr int kNone = -1;

uint64_t PairKey(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

// A token of the piece so far, in a doubly linked list. The right one of a merged pair stays in
// the array with id kNone.
struct Symbol {
  int32_t id;
  int previous;
  int next;
};

}  // namespace

// A pair that could be merged, unless one of its symbols has changed since.
struct BytePairEncoder::Candidate {
  int32_t rank;
  int left;
  int32_t left_id;
  int32_t right_id;
  int32_t merged_id;

  bool operator<(const Candidate& other) const {
    return std::tie(rank, left) > std::tie(other.rank, other.left);
  }
};

absl::StatusOr<BytePairEncoder> BytePairEncoder::Create(const TokenizerAssets& assets) {
  BytePairEncoder encoder;
  encoder.byte_ids_.fill(kNone);
  absl::flat_hash_map<absl::string_view, int32_t> ids;
  for (size_t id = 0; id < assets.token_bytes.size(); ++id) {
    if (assets.token_kinds[id] != TokenKind::kNormal) continue;
    const std::string& bytes = assets.token_bytes[id];
    ids.emplace(bytes, static_cast<int32_t>(id));
    if (bytes.size() == 1) {
      encoder.byte_ids_[static_cast<uint8_t>(bytes[0])] = static_cast<int32_t>(id);
    }
  }
  const auto is_token = [&](int32_t id) {
    return id >= 0 && static_cast<size_t>(id) < assets.token_bytes.size();
  };
  encoder.merges_.reserve(assets.merges.size());
  for (size_t rank = 0; rank < assets.merges.size(); ++rank) {
    const auto [left, right] = assets.merges[rank];
    if (!is_token(left) || !is_token(right)) {
      return absl::InvalidArgumentError(
          absl::StrCat("merge ", rank, " of the tokenizer is of ids outside the vocabulary"));
    }
    const auto merged = ids.find(absl::StrCat(assets.token_bytes[left], assets.token_bytes[right]));
    if (merged == ids.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("merge ", rank, " of the tokenizer makes no token"));
    }
    encoder.merges_.emplace(PairKey(left, right),
                            Merge{static_cast<int32_t>(rank), merged->second});
  }
  return encoder;
}

const BytePairEncoder::Merge* BytePairEncoder::FindMerge(int32_t left, int32_t right) const {
  const auto it = merges_.find(PairKey(left, right));
  return it == merges_.end() ? nullptr : &it->second;
}

void BytePairEncoder::Encode(absl::string_view piece, std::vector<int32_t>* token_ids) const {
  std::vector<Symbol> symbols;
  symbols.reserve(piece.size());
  for (const char byte : piece) {
    const int32_t id = byte_ids_[static_cast<uint8_t>(byte)];
    const int at = static_cast<int>(symbols.size());
    if (id != kNone) symbols.push_back({id, at - 1, at + 1});
  }
  if (symbols.empty()) return;
  symbols.back().next = kNone;

  std::vector<Candidate> storage;
  storage.reserve(symbols.size());
  std::priority_queue<Candidate> candidates(std::less<Candidate>(), std::move(storage));
  const auto consider = [&](int left) {
    if (left == kNone || symbols[left].next == kNone) return;
    const int32_t left_id = symbols[left].id;
    const int32_t right_id = symbols[symbols[left].next].id;
    if (const Merge* merge = FindMerge(left_id, right_id)) {
      candidates.push({merge->rank, left, left_id, right_id, merge->merged_id});
    }
  };
  for (int i = 0; i + 1 < static_cast<int>(symbols.size()); ++i) consider(i);
  while (!candidates.empty()) {
    const Candidate best = candidates.top();
    candidates.pop();
    Symbol& left = symbols[best.left];
    if (left.id != best.left_id || left.next == kNone) continue;
    Symbol& right = symbols[left.next];
    if (right.id != best.right_id) continue;
    left.id = best.merged_id;
    right.id = kNone;
    left.next = right.next;
    if (left.next != kNone) symbols[left.next].previous = best.left;
    consider(left.previous);
    consider(best.left);
  }
  for (int at = 0; at != kNone; at = symbols[at].next) token_ids->push_back(symbols[at].id);
}

}  // namespace phalanx
