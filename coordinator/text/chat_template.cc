#include "coordinator/text/chat_template.h"

#include <cstdint>
#include <ctime>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/text/jinja/jinja.h"

namespace phalanx {
namespace {

const uint8_t* Bytes(absl::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

std::string Take(uint8_t* data, size_t size) {
  if (data == nullptr) return {};
  std::string text(reinterpret_cast<const char*>(data), size);
  phalanx_jinja_free_bytes(data, size);
  return text;
}

size_t FormatNow(const char* format, uint8_t* buffer, size_t size) {
  const std::time_t now = std::time(nullptr);
  std::tm local;
  localtime_r(&now, &local);
  return std::strftime(reinterpret_cast<char*>(buffer), size, format, &local);
}

}  // namespace

void ChatTemplate::Free::operator()(void* compiled) const { phalanx_jinja_free(compiled); }

absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplate::Create(absl::string_view source,
                                                                   ChatTemplateOptions options) {
  std::unique_ptr<ChatTemplate> chat_template(new ChatTemplate(std::move(options)));
  void* compiled = nullptr;
  uint8_t* error = nullptr;
  size_t error_size = 0;
  const PhalanxJinjaLimits limits = {
      .steps = chat_template->options_.max_steps,
      .memory_bytes = chat_template->options_.max_memory_bytes,
      .milliseconds =
          static_cast<uint64_t>(absl::ToInt64Milliseconds(chat_template->options_.max_time))};
  const int32_t code = phalanx_jinja_compile(Bytes(source), source.size(), &limits, &FormatNow,
                                             &compiled, &error, &error_size);
  if (code != PHALANX_JINJA_OK) {
    return absl::InvalidArgumentError(absl::StrCat("chat template: ", Take(error, error_size)));
  }
  chat_template->compiled_.reset(compiled);
  return chat_template;
}

absl::StatusOr<std::string> ChatTemplate::Render(absl::Span<const ChatMessage> messages,
                                                 bool add_generation_prompt) const {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const ChatMessage& message : messages) {
    list.push_back({{"role", message.role}, {"content", message.content}});
  }
  const nlohmann::ordered_json context = {{"messages", std::move(list)},
                                          {"add_generation_prompt", add_generation_prompt},
                                          {"bos_token", options_.bos_token},
                                          {"eos_token", options_.eos_token}};
  // Bytes that are not UTF-8 would make dump throw.
  const std::string json = context.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  uint8_t* result = nullptr;
  size_t result_size = 0;
  const int32_t code = phalanx_jinja_render(compiled_.get(), Bytes(json), json.size(),
                                            options_.max_output_bytes, &result, &result_size);
  std::string text = Take(result, result_size);
  if (code == PHALANX_JINJA_OK) return text;
  const std::string message = absl::StrCat("chat: the model's template: ", text);
  if (code == PHALANX_JINJA_EXHAUSTED) return absl::ResourceExhaustedError(message);
  return absl::InvalidArgumentError(message);
}

}  // namespace phalanx
