// Jinja templates rendered in this process, for templates that are known and for the process that
// renders those of strangers: a template can take all memory, stack and time of the process.
#ifndef PHALANX_COORDINATOR_TEXT_JINJA_LOCAL_JINJA_H_
#define PHALANX_COORDINATOR_TEXT_JINJA_LOCAL_JINJA_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "coordinator/text/jinja/jinja_template.h"

namespace phalanx {

class LocalJinja final : public JinjaCompiler {
 public:
  // Writes what strftime_now gives for a format; returns the length, 0 if it does not fit.
  using FormatNow = size_t (*)(const char* format, uint8_t* buffer, size_t size);

  // A null `format_now` gives the local time.
  explicit LocalJinja(JinjaLimits limits = {}, FormatNow format_now = nullptr);

  absl::StatusOr<std::unique_ptr<JinjaTemplate>> Compile(absl::string_view source) override;

 private:
  const JinjaLimits limits_;
  const FormatNow format_now_;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_JINJA_LOCAL_JINJA_H_
