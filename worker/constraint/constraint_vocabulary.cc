#include "worker/constraint/constraint_vocabulary.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "worker/constraint/guidance/guidance.h"
#include "worker/constraint/guidance_text.h"

namespace phalanx {
namespace {

uint8_t UseOf(TokenKind kind) {
  switch (kind) {
    case TokenKind::kNormal:
      return PHALANX_GUIDANCE_TOKEN_TEXT;
    case TokenKind::kUserDefined:
      return PHALANX_GUIDANCE_TOKEN_NAMED;
    case TokenKind::kControl:
    case TokenKind::kUnused:
      break;
  }
  return PHALANX_GUIDANCE_TOKEN_NEVER;
}

// A grammar names a token by <...>.
bool CanBeNamed(const std::string& token) {
  return absl::StartsWith(token, "<") && absl::EndsWith(token, ">");
}

}  // namespace

absl::StatusOr<std::shared_ptr<const ConstraintVocabulary>> ConstraintVocabulary::Create(
    const TokenizerAssets& assets, int vocab) {
  std::shared_ptr<ConstraintVocabulary> vocabulary(new ConstraintVocabulary);
  vocabulary->vocab_ = vocab;
  for (const int32_t id : assets.eos_token_ids) {
    if (id >= 0 && id < vocab) vocabulary->end_token_ids_.push_back(id);
  }
  std::sort(vocabulary->end_token_ids_.begin(), vocabulary->end_token_ids_.end());
  if (vocabulary->end_token_ids_.empty()) {
    return absl::FailedPreconditionError(
        "this model has no token that ends a text, so its texts cannot be constrained");
  }
  const size_t num_tokens = std::min(assets.token_bytes.size(), static_cast<size_t>(vocab));
  std::string bytes;
  std::vector<uint32_t> sizes(static_cast<size_t>(vocab), 0);
  std::vector<uint8_t> uses(static_cast<size_t>(vocab), PHALANX_GUIDANCE_TOKEN_NEVER);
  for (size_t id = 0; id < num_tokens; ++id) {
    const std::string& token = assets.token_bytes[id];
    bytes += token;
    sizes[id] = static_cast<uint32_t>(token.size());
    uses[id] = UseOf(assets.token_kinds[id]);
    vocabulary->text_begins_.push_back(static_cast<uint32_t>(vocabulary->text_.size()));
    if (uses[id] != PHALANX_GUIDANCE_TOKEN_NEVER) vocabulary->text_ += token;
    if (uses[id] == PHALANX_GUIDANCE_TOKEN_NAMED && CanBeNamed(token)) {
      vocabulary->named_tokens_.push_back(token);
    }
  }
  vocabulary->text_begins_.resize(static_cast<size_t>(vocab) + 1,
                                  static_cast<uint32_t>(vocabulary->text_.size()));
  const std::vector<uint32_t> ends(vocabulary->end_token_ids_.begin(),
                                   vocabulary->end_token_ids_.end());
  GuidanceError error;
  if (phalanx_guidance_new_vocabulary(reinterpret_cast<const uint8_t*>(bytes.data()), sizes.data(),
                                      uses.data(), sizes.size(), ends.data(), ends.size(),
                                      &vocabulary->handle_, &error.data,
                                      &error.size) != PHALANX_GUIDANCE_OK) {
    return absl::FailedPreconditionError(
        absl::StrCat("texts of this model cannot be constrained: ", error.text()));
  }
  return vocabulary;
}

absl::StatusOr<std::shared_ptr<const ConstraintVocabulary>> ConstraintVocabulary::OfBytes(
    absl::Span<const std::string> named_tokens) {
  TokenizerAssets assets;
  for (int byte = 0; byte < 256; ++byte) {
    assets.token_bytes.emplace_back(1, static_cast<char>(byte));
    assets.token_kinds.push_back(TokenKind::kNormal);
  }
  for (const std::string& token : named_tokens) {
    assets.token_bytes.push_back(token);
    assets.token_kinds.push_back(TokenKind::kUserDefined);
  }
  assets.eos_token_ids = {static_cast<int32_t>(assets.token_bytes.size())};
  assets.token_bytes.emplace_back("<end>");
  assets.token_kinds.push_back(TokenKind::kControl);
  return Create(assets, static_cast<int>(assets.token_bytes.size()));
}

absl::string_view ConstraintVocabulary::TextOf(int32_t token) const {
  const size_t begin = text_begins_[static_cast<size_t>(token)];
  return absl::string_view(text_).substr(begin,
                                         text_begins_[static_cast<size_t>(token) + 1] - begin);
}

ConstraintVocabulary::~ConstraintVocabulary() {
  if (handle_ != nullptr) phalanx_guidance_free_vocabulary(handle_);
}

}  // namespace phalanx
