// Macros that pass an absl::Status up the call chain.
#ifndef PHALANX_BASE_STATUS_H_
#define PHALANX_BASE_STATUS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Returns from the enclosing function if `expr`, an absl::Status, is not OK.
#define RETURN_IF_ERROR(expr)                                                           \
  do {                                                                                  \
    if (absl::Status status_macro_ = (expr); !status_macro_.ok()) return status_macro_; \
  } while (false)

// Assigns the value of `expr`, an absl::StatusOr, to `lhs` (which may declare a variable), or
// returns its status. Example: ASSIGN_OR_RETURN(std::unique_ptr<GgufFile> file, GgufFile::Open(p));
#define ASSIGN_OR_RETURN(lhs, ...) \
  PHALANX_ASSIGN_OR_RETURN_(PHALANX_CONCAT_(statusor_macro_, __LINE__), lhs, __VA_ARGS__)

#define PHALANX_ASSIGN_OR_RETURN_(statusor, lhs, ...)      \
  auto statusor = (__VA_ARGS__);                           \
  if (!statusor.ok()) return std::move(statusor).status(); \
  lhs = *std::move(statusor)

#define PHALANX_CONCAT_(a, b) PHALANX_CONCAT_INNER_(a, b)
#define PHALANX_CONCAT_INNER_(a, b) a##b

#endif  // PHALANX_BASE_STATUS_H_
