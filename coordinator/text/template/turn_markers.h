// Finds the tokens by which a chat template sets turns and roles apart.
#ifndef PHALANX_COORDINATOR_TEXT_TEMPLATE_TURN_MARKERS_H_
#define PHALANX_COORDINATOR_TEXT_TEMPLATE_TURN_MARKERS_H_

#include <cstdint>
#include <vector>

#include "coordinator/text/template/chat_template.h"
#include "model/text/tokenizer_assets.h"

namespace phalanx {

// Returns the ids, ascending, of tokens that are no control tokens but are spelled like one (<...>
// or [...], without white space), are not ordinary text (model/text/turn_ends.h), and are in what
// the template writes around plain conversations without tools. <|user|> is one, however the
// template puts it together. A caller who could write them could speak for the model. Tokens that a
// template writes for tools, and those around reasoning, are not among them, since histories that
// callers send back hold them.
std::vector<int32_t> FindTurnMarkers(const TokenizerAssets& assets,
                                     const ChatTemplate& chat_template);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_TEMPLATE_TURN_MARKERS_H_
