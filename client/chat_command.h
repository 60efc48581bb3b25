// `phalanx chat`: a conversation, one line of input at a time.
#ifndef PHALANX_CLIENT_CHAT_COMMAND_H_
#define PHALANX_CLIENT_CHAT_COMMAND_H_

#include "absl/status/status.h"
#include "client/command_context.h"

namespace phalanx {

// Returns at the end of the input. CANCELLED once interrupted between two answers; an interrupt
// during an answer only stops that one, and what came of it stays in the conversation. An answer
// that fails leaves the conversation as it was before; the error is printed if the input is a
// terminal, else returned.
absl::Status Chat(CommandContext& context);

}  // namespace phalanx

#endif  // PHALANX_CLIENT_CHAT_COMMAND_H_
