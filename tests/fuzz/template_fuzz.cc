// A chat template, compiled and rendered.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/log.h"
#include "coordinator/text/chat_template.h"

// Templates can make values that hold each other, which are never freed; ChatTemplate bounds them.
extern "C" int __lsan_is_turned_off() { return 1; }

namespace phalanx {
namespace {

constexpr size_t kMaxOutputBytes = 64 << 10;
constexpr size_t kMaxMemoryBytes = 1 << 20;

void CheckTemplate(absl::string_view source) {
  const auto chat_template =
      ChatTemplate::Create(source, {.tokens = {{"bos_token", "<s>"}, {"eos_token", "</s>"}},
                                    .jinja = {.max_steps = 20'000,
                                              .max_output_bytes = kMaxOutputBytes,
                                              .max_memory_bytes = kMaxMemoryBytes,
                                              .max_time = absl::Milliseconds(100)}});
  if (!chat_template.ok()) {
    CHECK(absl::IsInvalidArgument(chat_template.status())) << chat_template.status();
    return;
  }
  const Conversation conversation = {
      {{"system", "Be brief."}, {"user", "K\u00e4se?"}, {"assistant", "Yes.\n"}, {"user", "12"}}};
  const absl::StatusOr<std::string> text = (*chat_template)->Render(conversation);
  if (text.ok()) {
    CHECK(text->size() <= kMaxOutputBytes) << text->size();
  } else {
    CHECK(absl::IsInvalidArgument(text.status()) || absl::IsResourceExhausted(text.status()))
        << text.status();
  }
}

}  // namespace
}  // namespace phalanx

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  phalanx::CheckTemplate({reinterpret_cast<const char*>(data), size});
  return 0;
}
