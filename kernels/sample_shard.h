// What the ops that draw tokens from logits which are split over ranks share.
#ifndef PHALANX_KERNELS_SAMPLE_SHARD_H_
#define PHALANX_KERNELS_SAMPLE_SHARD_H_

#include <cstdint>

namespace phalanx::kernels {

// What of a row's probability is cut off before a token is drawn.
enum class CutKind { kTopK, kTopP, kTypical };
inline constexpr int kCutKinds = 3;

// A cut is found by the rank key of the last token that it keeps (kernels/sampling/sample.h ranks
// tokens by logit, and for typical_p by another measure), one digit after the other from the top,
// as a radix sort finds an element.
inline constexpr int kCutDigits = 4;
inline constexpr int kDigitValues = 256;

// Where a row is cut off. Only the fields of a cut that is complete mean something to others.
struct SampleCut {
  // What the tokens whose keys begin with the digits found so far must still sum to.
  uint64_t left = 0;
  uint32_t key = 0;      // Of the last token that is kept; digits not found yet are 0.
  int32_t last_id = -1;  // This rank's last token of just this key that is kept.
};

// Words of TypicalSums for one row.
inline constexpr int kTypicalSums = 2;

// What the ranks need to draw tokens together where each has the logits of a part of the
// vocabulary: rank r those of the ids that follow the part of rank r - 1. A part may be empty. The
// arrays are in backend memory; `rows` are the step's num_logit_rows. See Backend::RowMaxima.
struct SampleShard {
  int rank = 0;
  int world = 1;
  int64_t first_id = 0;               // Of this rank's part.
  int64_t vocab = 0;                  // Tokens of all ranks, at most 2^19.
  uint64_t* maxima = nullptr;         // [rows]
  SampleCut* cuts = nullptr;          // [rows, kCutKinds], by CutKind
  uint64_t* typical_sums = nullptr;   // [rows, kTypicalSums]
  uint64_t* sums = nullptr;           // [rows, kDigitValues]
  uint64_t* sums_of_ranks = nullptr;  // [world, rows, kDigitValues]
  uint64_t* kept = nullptr;           // [rows]
  uint64_t* kept_of_ranks = nullptr;  // [world, rows]
  uint64_t* drawn = nullptr;          // [rows]
};

// Words of LogProbTerms for one row.
inline constexpr int kLogProbTerms = 3;

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_SAMPLE_SHARD_H_
