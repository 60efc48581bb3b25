#include "worker/constraint/answer_constraint.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace phalanx {
namespace {

constexpr absl::string_view kOpen = "<think>";
// White space before "<think>"; a model that writes more is not on its way there.
constexpr size_t kMaxOpeningSpace = 16;

void Set(absl::Span<uint32_t> bits, int32_t token) {
  bits[static_cast<size_t>(token) / 32] |= uint32_t{1} << (token % 32);
}

void Clear(absl::Span<uint32_t> bits, int32_t token) {
  bits[static_cast<size_t>(token) / 32] &= ~(uint32_t{1} << (token % 32));
}

enum class Opening { kNo, kPart, kWhole };

// Whether `text` is white space and a part of "<think>", or has all of it.
Opening OpeningOf(absl::string_view text) {
  const absl::string_view tag = absl::StripLeadingAsciiWhitespace(text);
  if (text.size() - tag.size() > kMaxOpeningSpace) return Opening::kNo;
  if (absl::StartsWith(tag, kOpen)) return Opening::kWhole;
  return absl::StartsWith(kOpen, tag) ? Opening::kPart : Opening::kNo;
}

}  // namespace

AnswerConstraint::AnswerConstraint(std::unique_ptr<Constraint> constraint, AnswerBegin begin)
    : constraint_(std::move(constraint)) {
  switch (begin) {
    case AnswerBegin::kAtOnce:
      state_ = State::kAnswer;
      break;
    case AnswerBegin::kAfterThinkBlock:
      state_ = State::kUndecided;
      fresh_ = constraint_->Copy();
      break;
    case AnswerBegin::kInsideThinkBlock:
      state_ = State::kThinking;
      break;
  }
}

AnswerConstraint AnswerConstraint::Copy() const {
  AnswerConstraint copy;
  copy.state_ = state_;
  copy.opening_ = opening_;
  if (fresh_ != nullptr) copy.fresh_ = fresh_->Copy();
  copy.answer_possible_ = answer_possible_;
  copy.block_ = block_;
  copy.constraint_ = constraint_->Copy();
  copy.status_ = status_;
  return copy;
}

void AnswerConstraint::WriteMask(absl::Span<uint32_t> bits) {
  if (state_ == State::kThinking) return WriteAllButEnds(bits);
  if (!status_.ok()) {
    std::fill(bits.begin(), bits.end(), 0);
    return;
  }
  if (state_ == State::kUndecided && !answer_possible_) {
    std::fill(bits.begin(), bits.end(), 0);
  } else if (status_ = constraint_->Mask(bits); !status_.ok()) {
    std::fill(bits.begin(), bits.end(), 0);
    return;
  }
  if (state_ == State::kUndecided) AddOpeningTokens(bits);
}

void AnswerConstraint::Accept(int32_t token) {
  switch (state_) {
    case State::kUndecided:
      return AcceptUndecided(token);
    case State::kThinking:
      return AcceptThinking(constraint_->vocabulary().TextOf(token));
    case State::kAnswer:
      if (status_.ok()) status_ = constraint_->Accept(token);
      return;
  }
}

bool AnswerConstraint::finished() const {
  return state_ == State::kAnswer && constraint_->finished();
}

void AnswerConstraint::WriteAllButEnds(absl::Span<uint32_t> bits) const {
  const ConstraintVocabulary& vocabulary = constraint_->vocabulary();
  std::fill(bits.begin(), bits.end(), ~uint32_t{0});
  const int spare = static_cast<int>(bits.size()) * 32 - vocabulary.vocab();
  bits.back() >>= spare;
  for (const int32_t id : vocabulary.end_token_ids()) Clear(bits, id);
}

void AnswerConstraint::AddOpeningTokens(absl::Span<uint32_t> bits) const {
  const ConstraintVocabulary& vocabulary = constraint_->vocabulary();
  std::string text = opening_;
  for (int32_t id = 0; id < vocabulary.vocab(); ++id) {
    const absl::string_view token = vocabulary.TextOf(id);
    if (token.empty()) continue;
    text.resize(opening_.size());
    absl::StrAppend(&text, token);
    if (OpeningOf(text) != Opening::kNo) Set(bits, id);
  }
}

void AnswerConstraint::AcceptUndecided(int32_t token) {
  const absl::string_view text = constraint_->vocabulary().TextOf(token);
  absl::StrAppend(&opening_, text);
  const Opening opening = text.empty() ? Opening::kNo : OpeningOf(opening_);
  if (opening == Opening::kWhole) {
    constraint_ = std::move(fresh_);
    status_ = absl::OkStatus();
    state_ = State::kThinking;
    const absl::string_view so_far = opening_;
    // The rest of the token is in the block.
    return AcceptThinking(so_far.substr(so_far.find(kOpen) + kOpen.size()));
  }
  if (answer_possible_) {
    const absl::Status accepted = constraint_->Accept(token);
    answer_possible_ = accepted.ok();
    if (opening == Opening::kNo) status_ = accepted;
  } else if (opening == Opening::kNo) {
    status_ = absl::InvalidArgumentError("neither a think block nor the answer goes on like this");
  }
  if (opening == Opening::kNo) state_ = State::kAnswer;
}

void AnswerConstraint::AcceptThinking(absl::string_view text) {
  block_.Accept(text);
  if (block_.state() == ThinkWatch::State::kAnswer) state_ = State::kAnswer;
}

}  // namespace phalanx
