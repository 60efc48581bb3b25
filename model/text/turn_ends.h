// Finds the tokens that end a turn.
#ifndef PHALANX_MODEL_TEXT_TURN_ENDS_H_
#define PHALANX_MODEL_TEXT_TURN_ENDS_H_

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "model/text/tokenizer_assets.h"

namespace phalanx {

// Whether ordinary text becomes this token: by merges, or because it is a single byte. Files also
// give the kind "normal" to tokens that no text becomes.
bool IsOrdinaryText(const TokenizerAssets& assets, int32_t id);

// The tokens that end a turn, ascending: those of `named_ids` that are not negative, and tokens, of
// whatever kind, whose spelling is one with which models of the supported families end a turn, such
// as <|im_end|>. Files often name only one of several. Ordinary text does not count, unless it is
// named.
std::vector<int32_t> TurnEnds(const TokenizerAssets& assets,
                              std::initializer_list<int32_t> named_ids);

// Makes a token a control token, unless it is one: it has no text in answers, and callers' text
// does not become it. Ordinary text stays as it is, since it would no longer be encoded as the
// model learnt it. So does padding.
void PromoteToControl(int32_t id, TokenizerAssets& assets);

}  // namespace phalanx

#endif  // PHALANX_MODEL_TEXT_TURN_ENDS_H_
