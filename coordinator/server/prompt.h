// Turns public messages into what the text service and the engine take.
#ifndef PHALANX_COORDINATOR_SERVER_PROMPT_H_
#define PHALANX_COORDINATOR_SERVER_PROMPT_H_

#include <atomic>
#include <string>

#include "absl/status/statusor.h"
#include "coordinator/admission/refusal.h"
#include "coordinator/routing/group_session.h"
#include "coordinator/server/serving_environment.h"
#include "coordinator/server/text_service.h"
#include "phalanx/v1/inference.pb.h"

namespace phalanx {

Conversation ConversationOf(const v1::Chat& chat);

// For a valid request with text or chat input: GenerateRequest or TokenizeRequest. `with_pieces`
// asks for EncodedPrompt::pieces.
template <typename Request>
absl::StatusOr<EncodedPrompt> EncodePrompt(const TextService& text, const Request& request,
                                           const std::atomic<bool>& cancelled,
                                           bool with_pieces = false) {
  EncodeOptions options{.allow_special = request.allow_special(), .pieces = with_pieces};
  if (request.has_add_bos()) options.add_bos = request.add_bos();
  absl::StatusOr<EncodedPrompt> encoded =
      request.has_chat() ? text.EncodeChat(ConversationOf(request.chat()), options, cancelled)
                         : text.EncodeText(request.text(), options, cancelled);
  // What the model's template or its tokenizer cannot take.
  if (absl::IsInvalidArgument(encoded.status())) {
    return Refused(RefusalKind::kTemplate, encoded.status());
  }
  return encoded;
}

// Tells the client which values are in use.
v1::Started MakeStarted(const std::string& request_id, const ServingEnvironment& environment,
                        const EngineRequest& request);

// To be called only for a model that has LongRoPE.
v1::LongRope MakeLongRope(const ServedModel& model);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_SERVER_PROMPT_H_
