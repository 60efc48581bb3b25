// Which tokens end a turn.
#ifndef PHALANX_MODEL_TEXT_TURN_ENDS_H_
#define PHALANX_MODEL_TEXT_TURN_ENDS_H_

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "model/text/tokenizer_assets.h"

namespace phalanx {

// Whether ordinary text becomes this token: by merges, or as a byte that is a token. Files give the
// kind "normal" to tokens that no text becomes, too.
bool IsOrdinaryText(const TokenizerAssets& assets, int32_t id);

// Ascending: of `named_ids` those that are not negative, and the tokens, whatever kind they are
// stored as, by whose spelling models of the supported families end a turn, such as <|im_end|>.
// Files often name one of several. Ordinary text is none, unless it is named.
std::vector<int32_t> TurnEnds(const TokenizerAssets& assets,
                              std::initializer_list<int32_t> named_ids);

// Makes a token a control token, if it is none: it has no text in answers, and callers' text does
// not become it. Ordinary text stays what it is, as it would not be encoded as the model learnt it,
// and so does padding.
void PromoteToControl(int32_t id, TokenizerAssets& assets);

}  // namespace phalanx

#endif  // PHALANX_MODEL_TEXT_TURN_ENDS_H_
