#include "worker/constraint/constraint.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "worker/constraint/guidance/guidance.h"
#include "worker/constraint/guidance_text.h"

namespace phalanx {
namespace {

int32_t LibraryKind(ConstraintKind kind) {
  switch (kind) {
    case ConstraintKind::kJsonSchema:
      return PHALANX_GUIDANCE_JSON_SCHEMA;
    case ConstraintKind::kRegex:
      return PHALANX_GUIDANCE_REGEX;
    case ConstraintKind::kChoices:
      return PHALANX_GUIDANCE_CHOICES;
    case ConstraintKind::kLark:
      return PHALANX_GUIDANCE_LARK;
  }
  return 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Constraint>> Constraint::Compile(
    std::shared_ptr<const ConstraintVocabulary> vocabulary, const ConstraintSource& source,
    const ConstraintLimits& limits) {
  if (source.text.empty()) return absl::InvalidArgumentError("is empty");
  if (source.text.size() > limits.max_text_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("has ", source.text.size(), " bytes, and ",
                                                   limits.max_text_bytes, " are allowed"));
  }
  const PhalanxGuidanceLimits library_limits = {
      .initial_lexer_fuel = limits.initial_lexer_fuel,
      .step_lexer_fuel = limits.step_lexer_fuel,
      .step_max_items = limits.step_max_items,
      .step_max_work = limits.step_max_work,
      .max_items_in_row = limits.max_items_in_row,
      .max_lexer_states = limits.max_lexer_states,
      .max_grammar_size = limits.max_grammar_size,
      .max_reference_depth = limits.max_reference_depth,
  };
  void* handle = nullptr;
  GuidanceError error;
  if (phalanx_guidance_compile(vocabulary->handle(), LibraryKind(source.kind),
                               reinterpret_cast<const uint8_t*>(source.text.data()),
                               source.text.size(), &library_limits, &handle, &error.data,
                               &error.size) != PHALANX_GUIDANCE_OK) {
    return absl::InvalidArgumentError(error.text());
  }
  std::unique_ptr<Constraint> constraint(new Constraint(std::move(vocabulary), handle));
  // A constraint that no text can fulfil often shows here. What is learnt stays with all copies.
  std::vector<uint32_t> mask(static_cast<size_t>(constraint->vocabulary().mask_words()));
  RETURN_IF_ERROR(constraint->Mask(absl::MakeSpan(mask)));
  return constraint;
}

Constraint::Constraint(std::shared_ptr<const ConstraintVocabulary> vocabulary, void* handle)
    : vocabulary_(std::move(vocabulary)), handle_(handle) {}

Constraint::~Constraint() { phalanx_guidance_free_matcher(handle_); }

std::unique_ptr<Constraint> Constraint::Copy() const {
  void* const handle = phalanx_guidance_clone(handle_);
  CHECK(handle != nullptr);
  return std::unique_ptr<Constraint>(new Constraint(vocabulary_, handle));
}

absl::Status Constraint::Mask(absl::Span<uint32_t> bits) {
  CHECK(bits.size() == static_cast<size_t>(vocabulary_->mask_words()));
  GuidanceError error;
  if (phalanx_guidance_mask(handle_, bits.data(), bits.size(), &error.data, &error.size) !=
      PHALANX_GUIDANCE_OK) {
    return absl::InvalidArgumentError(error.text());
  }
  return absl::OkStatus();
}

absl::Status Constraint::Accept(int32_t token) {
  GuidanceError error;
  if (phalanx_guidance_accept(handle_, static_cast<uint32_t>(token), &error.data, &error.size) !=
      PHALANX_GUIDANCE_OK) {
    return absl::InvalidArgumentError(error.text());
  }
  return absl::OkStatus();
}

absl::Status Constraint::Rollback(int num_tokens) {
  GuidanceError error;
  if (phalanx_guidance_rollback(handle_, static_cast<size_t>(num_tokens), &error.data,
                                &error.size) != PHALANX_GUIDANCE_OK) {
    return absl::InvalidArgumentError(error.text());
  }
  return absl::OkStatus();
}

bool Constraint::finished() const { return phalanx_guidance_is_finished(handle_) != 0; }

bool Constraint::MayEnd() { return phalanx_guidance_may_end(handle_) != 0; }

uint64_t Constraint::last_work() const { return phalanx_guidance_last_work(handle_); }

Constraint::LexerSize Constraint::lexer_size() const {
  LexerSize size;
  phalanx_guidance_lexer_size(handle_, &size.states, &size.bytes);
  return size;
}

}  // namespace phalanx
