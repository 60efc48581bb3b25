#include "coordinator/server/prompt.h"

namespace phalanx {

std::vector<ChatTurn> TurnsOf(const v1::Chat& chat) {
  std::vector<ChatTurn> turns;
  turns.reserve(chat.messages_size());
  for (const v1::Message& message : chat.messages()) {
    turns.push_back({message.role(), message.content()});
  }
  return turns;
}

v1::Started MakeStarted(const std::string& request_id, const std::string& model,
                        const EngineRequest& request) {
  v1::Started started;
  started.set_request_id(request_id);
  started.set_model(model);
  started.set_prompt_tokens(static_cast<int32_t>(request.prompt_token_ids.size()));
  started.set_max_new_tokens(request.max_new_tokens);
  v1::Sampling& sampling = *started.mutable_sampling();
  sampling.set_temperature(request.temperature);
  sampling.set_top_k(request.top_k);
  sampling.set_top_p(request.top_p);
  sampling.set_seed(request.seed);
  return started;
}

}  // namespace phalanx
