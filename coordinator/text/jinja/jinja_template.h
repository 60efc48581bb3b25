// Jinja templates, rendered as transformers does.
//
// Templates are written for Jinja2 in Python. The engine is another one, which was taught Python's
// ways where they show: how numbers, True, None, lists and dicts are printed, arithmetic, string
// methods, tojson's arguments, `generation` blocks. What it cannot follow fails to compile or to
// render instead of giving other text. The exceptions are listed in jinja/src/python_semantics.rs.
//
// Templates come from strangers. local_jinja.h renders in this process. Servers use
// renderer/renderer_pool.h, where a template can take no more than a small process may.
#ifndef PHALANX_COORDINATOR_TEXT_JINJA_JINJA_TEMPLATE_H_
#define PHALANX_COORDINATOR_TEXT_JINJA_JINJA_TEMPLATE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace phalanx {

// Limits of one rendering. A real template takes some tens of steps for a message. Output that the
// template captures counts too.
struct JinjaLimits {
  uint64_t max_steps = 10'000'000;
  size_t max_output_bytes = 64 << 20;
};

// Thread-safe; immutable. Must not outlive the compiler that made it.
class JinjaTemplate {
 public:
  virtual ~JinjaTemplate() = default;

  // Renders with the variables of a JSON object, which is UTF-8. INVALID_ARGUMENT with the message
  // of the template's raise_exception or of the engine, or naming a limit that the variables make
  // it exceed. UNAVAILABLE if it failed through no fault of template and variables, and may succeed
  // when tried again.
  virtual absl::StatusOr<std::string> Render(absl::string_view variables_json) const = 0;
};

// Thread-safe.
class JinjaCompiler {
 public:
  virtual ~JinjaCompiler() = default;

  // INVALID_ARGUMENT telling the line where the syntax of `source` is wrong, or where it uses a
  // filter, a test, a function or another template that is not there, or which bound it exceeds.
  // What the template itself asks for (`f is defined`, `'f' is filter`) need not be there.
  // UNAVAILABLE as for JinjaTemplate::Render.
  virtual absl::StatusOr<std::unique_ptr<JinjaTemplate>> Compile(absl::string_view source) = 0;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_JINJA_JINJA_TEMPLATE_H_
