#include "coordinator/text/jinja_template.h"

#include <ctime>

#include "absl/status/status.h"
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

size_t FormatLocalTime(const char* format, uint8_t* buffer, size_t size) {
  const std::time_t now = std::time(nullptr);
  std::tm local;
  localtime_r(&now, &local);
  return std::strftime(reinterpret_cast<char*>(buffer), size, format, &local);
}

}  // namespace

void JinjaTemplate::Free::operator()(void* compiled) const { phalanx_jinja_free(compiled); }

absl::StatusOr<std::unique_ptr<JinjaTemplate>> JinjaTemplate::Create(absl::string_view source,
                                                                     const JinjaOptions& options) {
  void* compiled = nullptr;
  uint8_t* error = nullptr;
  size_t error_size = 0;
  const PhalanxJinjaLimits limits = {
      .steps = options.max_steps,
      .memory_bytes = options.max_memory_bytes,
      .milliseconds = static_cast<uint64_t>(absl::ToInt64Milliseconds(options.max_time))};
  const auto format_now = options.format_now == nullptr ? &FormatLocalTime : options.format_now;
  const int32_t code = phalanx_jinja_compile(Bytes(source), source.size(), &limits, format_now,
                                             &compiled, &error, &error_size);
  if (code != PHALANX_JINJA_OK) return absl::InvalidArgumentError(Take(error, error_size));
  return std::unique_ptr<JinjaTemplate>(new JinjaTemplate(compiled, options.max_output_bytes));
}

absl::StatusOr<std::string> JinjaTemplate::Render(const TemplateValue& variables) const {
  // Bytes that are not UTF-8 would make dump throw.
  const std::string json = variables.dump(-1, ' ', false, TemplateValue::error_handler_t::replace);
  uint8_t* result = nullptr;
  size_t result_size = 0;
  const int32_t code = phalanx_jinja_render(compiled_.get(), Bytes(json), json.size(),
                                            max_output_bytes_, &result, &result_size);
  std::string text = Take(result, result_size);
  if (code == PHALANX_JINJA_OK) return text;
  if (code == PHALANX_JINJA_EXHAUSTED) return absl::ResourceExhaustedError(text);
  return absl::InvalidArgumentError(text);
}

}  // namespace phalanx
