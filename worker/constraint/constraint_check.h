// Tries a constraint of a stranger in a process of its own, before it is compiled in this one.
//
// The library that compiles has limits of its own, but there are texts that it works on for minutes
// or gigabytes before it meets one, and it cannot be interrupted. So a small process compiles
// first: this program, started again, under limits of processor time, memory and stack that the
// kernel enforces. What ends it refuses one constraint. Compiling the same text again then takes no
// more.
#ifndef PHALANX_WORKER_CONSTRAINT_CONSTRAINT_CHECK_H_
#define PHALANX_WORKER_CONSTRAINT_CONSTRAINT_CHECK_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "worker/constraint/constraint_source.h"

namespace phalanx {

// To be called first in main by a program that calls CheckConstraint. If this process was started
// to check a constraint, does that and returns the exit code for main.
std::optional<int> RunConstraintCheckIfAsked(int argc, char** argv);

// Whether `source` can be compiled within `limits`, for a vocabulary with these named tokens.
// Blocks, for about 10 ms and twice limits.max_cpu_time at most on an idle machine. Thread-safe.
// INVALID_ARGUMENT with the reason, for callers, if it cannot; UNAVAILABLE if the process cannot be
// started, is ended from outside, or does not answer for 10 s.
absl::Status CheckConstraint(const ConstraintSource& source, const ConstraintLimits& limits,
                             absl::Span<const std::string> named_tokens);

}  // namespace phalanx

#endif  // PHALANX_WORKER_CONSTRAINT_CONSTRAINT_CHECK_H_
