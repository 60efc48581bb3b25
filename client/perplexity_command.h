// `phalanx perplexity`.
#ifndef PHALANX_CLIENT_PERPLEXITY_COMMAND_H_
#define PHALANX_CLIENT_PERPLEXITY_COMMAND_H_

#include "absl/status/status.h"
#include "client/command_context.h"

namespace phalanx {

// Tokenizes the file's text, scores it window by window, and prints the perplexity.
// INVALID_ARGUMENT if the text has fewer than two tokens or the window does not suit the model;
// NOT_FOUND if there is no such file.
absl::Status Perplexity(CommandContext& context);

}  // namespace phalanx

#endif  // PHALANX_CLIENT_PERPLEXITY_COMMAND_H_
