// A chat template, compiled and rendered: first by a process beside this one, as a coordinator does
// it, and then, unless that ended the process, in this one, where libFuzzer sees what is reached.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/log.h"
#include "coordinator/text/jinja/local_jinja.h"
#include "coordinator/text/renderer/render_loop.h"
#include "coordinator/text/renderer/renderer_pool.h"
#include "coordinator/text/template/chat_template.h"

// Templates can make values that hold each other, which are never freed.
extern "C" int __lsan_is_turned_off() { return 1; }

// For AddressSanitizer: the freed memory that it keeps back (256 MiB, if not told otherwise) counts
// as the renderers', whose memory is limited. And where memory ends, an allocation fails: its own
// report needs memory and can wait for ever.
extern "C" const char* __asan_default_options() {
  return "quarantine_size_mb=1:allocator_may_return_null=1";
}

namespace phalanx {
namespace {

constexpr JinjaLimits kJinjaLimits = {.max_steps = 20'000, .max_output_bytes = 64 << 10};

RendererPool& Renderers() {
  static RendererPool* const renderers = [] {
    // Each death of a process is an event that is logged.
    SetMinLogSeverity(LogSeverity::kError);
    return RendererPool::Start(1, {.jinja = kJinjaLimits,
                                   .max_memory_bytes = 32 << 20,
                                   .max_cpu_time = absl::Milliseconds(500)})
        .value()
        .release();
  }();
  return *renderers;
}

void CompileAndRender(JinjaCompiler& jinja, absl::string_view source) {
  const auto chat_template = ChatTemplate::Create(
      jinja, source, {.tokens = {{"bos_token", "<s>"}, {"eos_token", "</s>"}}});
  if (!chat_template.ok()) {
    CHECK(absl::IsInvalidArgument(chat_template.status())) << chat_template.status();
    return;
  }
  const Conversation conversation = {
      {{"system", "Be brief."}, {"user", "K\u00e4se?"}, {"assistant", "Yes.\n"}, {"user", "12"}}};
  const absl::StatusOr<std::string> text = (*chat_template)->Render(conversation);
  if (text.ok()) {
    CHECK(text->size() <= kJinjaLimits.max_output_bytes) << text->size();
  } else {
    CHECK(absl::IsInvalidArgument(text.status())) << text.status();
  }
}

void CheckTemplate(absl::string_view source) {
  // So that there is a process, if the input before ended one or this ends one that is nearly full.
  CHECK(Renderers().Compile("").ok() || Renderers().Compile("").ok());
  const std::vector<pid_t> before = Renderers().idle_pids();
  CompileAndRender(Renderers(), source);
  // Another process: the one before died, or would hold too much.
  if (Renderers().idle_pids() != before) return;
  LocalJinja local(kJinjaLimits);
  CompileAndRender(local, source);
}

}  // namespace
}  // namespace phalanx

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  if (const auto exit_code = phalanx::RunRendererIfAsked(*argc, *argv)) std::exit(*exit_code);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  phalanx::CheckTemplate({reinterpret_cast<const char*>(data), size});
  return 0;
}
