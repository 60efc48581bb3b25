// Which tokens end a turn.
#ifndef PHALANX_MODEL_TURN_ENDS_H_
#define PHALANX_MODEL_TURN_ENDS_H_

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "model/tokenizer_assets.h"

namespace phalanx {

// Ascending: of `named_ids` those that are not negative, and the control tokens of `assets` by
// whose spelling models of the supported families end a turn, such as <|im_end|>. Files often name
// one of several.
std::vector<int32_t> TurnEnds(const TokenizerAssets& assets,
                              std::initializer_list<int32_t> named_ids);

}  // namespace phalanx

#endif  // PHALANX_MODEL_TURN_ENDS_H_
