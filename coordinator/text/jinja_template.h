// Jinja templates, rendered as transformers does.
//
// Templates are written for Jinja2 in Python; the engine is another one, taught Python's ways where
// they show: how numbers, True, None, lists and dicts are printed, string methods, tojson's
// arguments, `generation` blocks. What it cannot follow fails to compile or to render instead of
// giving other text, but for what jinja/src/python_semantics.rs lists.
#ifndef PHALANX_COORDINATOR_TEXT_JINJA_TEMPLATE_H_
#define PHALANX_COORDINATOR_TEXT_JINJA_TEMPLATE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "coordinator/text/template_context.h"

namespace phalanx {

struct JinjaOptions {
  // Bounds of one rendering; a real template takes some tens of steps for a message. Output that is
  // captured by the template counts too.
  uint64_t max_steps = 10'000'000;
  size_t max_output_bytes = 64 << 20;
  // Of what the template makes, beside the messages and the output; also in compiling, and in all
  // that renderings leave behind for ever. Eight times as much is reserved as stack, not used.
  size_t max_memory_bytes = 32 << 20;
  // Also of compiling. A step that takes no memory is not cut short.
  absl::Duration max_time = absl::Seconds(10);
  // Writes what strftime_now gives for a format; returns the length, 0 if it does not fit. Null: of
  // the local time.
  size_t (*format_now)(const char* format, uint8_t* buffer, size_t size) = nullptr;
};

// Thread-safe; immutable.
class JinjaTemplate {
 public:
  // INVALID_ARGUMENT telling the line where the syntax of `source` is wrong, or where it uses a
  // filter, a test, a function or another template that is not there, or which bound it exceeds.
  // What the template itself asks for (`f is defined`, `'f' is filter`) need not be there.
  static absl::StatusOr<std::unique_ptr<JinjaTemplate>> Create(absl::string_view source,
                                                               const JinjaOptions& options);

  // With the variables of an object. INVALID_ARGUMENT with the message of the template's
  // raise_exception or of the engine, RESOURCE_EXHAUSTED: a limit of the options.
  absl::StatusOr<std::string> Render(const TemplateValue& variables) const;

 private:
  struct Free {
    void operator()(void* compiled) const;
  };

  JinjaTemplate(void* compiled, size_t max_output_bytes)
      : compiled_(compiled), max_output_bytes_(max_output_bytes) {}

  const std::unique_ptr<void, Free> compiled_;
  const size_t max_output_bytes_;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_JINJA_TEMPLATE_H_
