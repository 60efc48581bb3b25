#include "coordinator/text/jinja/local_jinja.h"

#include <ctime>
#include <string>

#include "absl/status/status.h"
#include "coordinator/text/jinja/jinja.h"

namespace phalanx {
namespace {

const uint8_t* Bytes(absl::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

// Copies bytes that Rust allocated and gives them back, since only Rust's allocator may free them.
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

struct Free {
  void operator()(void* compiled) const { phalanx_jinja_free(compiled); }
};

class LocalTemplate final : public JinjaTemplate {
 public:
  LocalTemplate(void* compiled, size_t max_output_bytes)
      : compiled_(compiled), max_output_bytes_(max_output_bytes) {}

  absl::StatusOr<std::string> Render(absl::string_view variables_json) const override {
    uint8_t* result = nullptr;
    size_t result_size = 0;
    const int32_t code =
        phalanx_jinja_render(compiled_.get(), Bytes(variables_json), variables_json.size(),
                             max_output_bytes_, &result, &result_size);
    std::string text = Take(result, result_size);
    if (code == PHALANX_JINJA_OK) return text;
    // Whatever fails in the engine, a panic included, counts as the fault of the template or its
    // variables.
    return absl::InvalidArgumentError(text);
  }

 private:
  const std::unique_ptr<void, Free> compiled_;
  const size_t max_output_bytes_;
};

}  // namespace

LocalJinja::LocalJinja(JinjaLimits limits, FormatNow format_now)
    : limits_(limits), format_now_(format_now == nullptr ? &FormatLocalTime : format_now) {}

absl::StatusOr<std::unique_ptr<JinjaTemplate>> LocalJinja::Compile(absl::string_view source) {
  void* compiled = nullptr;
  uint8_t* error = nullptr;
  size_t error_size = 0;
  const int32_t code = phalanx_jinja_compile(Bytes(source), source.size(), limits_.max_steps,
                                             format_now_, &compiled, &error, &error_size);
  if (code != PHALANX_JINJA_OK) return absl::InvalidArgumentError(Take(error, error_size));
  return std::make_unique<LocalTemplate>(compiled, limits_.max_output_bytes);
}

}  // namespace phalanx
