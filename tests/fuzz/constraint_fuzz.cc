// A constraint of any kind, and a text that is drawn from its masks: the first byte is the kind,
// the second one the seed, the rest the text of the constraint.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "base/log.h"
#include "model/text/tokenizer_assets.h"
#include "worker/constraint/constraint.h"

namespace phalanx {
namespace {

constexpr size_t kMaxTextBytes = 600;
constexpr int kMaxTokens = 24;

// Nothing bounds the time of a compilation in this process, so less is allowed.
ConstraintLimits Limits() {
  return {.max_text_bytes = kMaxTextBytes,
          .max_reference_depth = 8,
          .max_grammar_size = 2'000,
          .initial_lexer_fuel = 20'000,
          .step_lexer_fuel = 10'000,
          .step_max_items = 2'000,
          .max_items_in_row = 300,
          .step_max_work = 2'000'000,
          .max_lexer_states = 1'000};
}

// The 256 bytes, some longer texts, one token that a grammar can name, and two that end.
std::shared_ptr<const ConstraintVocabulary> MakeVocabulary() {
  TokenizerAssets assets;
  const auto add = [&](std::string bytes, TokenKind kind) {
    assets.token_bytes.push_back(std::move(bytes));
    assets.token_kinds.push_back(kind);
  };
  for (int byte = 0; byte < 256; ++byte) {
    add(std::string(1, static_cast<char>(byte)), TokenKind::kNormal);
  }
  for (const char* text : {"  ", "    ", "aa", "ab", "true", "null", "\":", "\",\"", "{\"", "\"}",
                           "[]", "12", "\xc3\xa9", "\n\n", "<tool>"}) {
    add(text, TokenKind::kNormal);
  }
  add("<tool>", TokenKind::kUserDefined);
  add("<end>", TokenKind::kControl);
  add("<stop>", TokenKind::kControl);
  add("<other>", TokenKind::kControl);
  const int32_t size = static_cast<int32_t>(assets.token_bytes.size());
  assets.eos_token_ids = {size - 3, size - 2};
  return *ConstraintVocabulary::Create(assets, size);
}

// One that could not go on is over its limits, or can be written by no token.
void CheckFailure(const absl::Status& status) {
  CHECK(absl::IsInvalidArgument(status)) << status;
  CHECK(!status.message().empty() && status.message().size() < 2'000) << status;
  // The message may quote the input, so that only its beginning tells of a panic.
  for (const char* panic : {"panic", "the grammar's engine panicked", "the compiler panicked"}) {
    CHECK(!absl::StartsWith(status.message(), panic)) << status;
  }
}

bool Has(const std::vector<uint32_t>& mask, int32_t token) {
  return (mask[static_cast<size_t>(token) / 32] >> (token % 32) & 1) != 0;
}

// False if it has failed.
bool MaskOf(Constraint& constraint, std::vector<uint32_t>* mask) {
  mask->assign(static_cast<size_t>(constraint.vocabulary().mask_words()), 0);
  const absl::Status status = constraint.Mask(absl::MakeSpan(*mask));
  if (!status.ok()) CheckFailure(status);
  return status.ok();
}

// Goes on by one token. False at the end, and if the constraint has failed. Unless `strict`, it is
// not looked at whether tokens that the mask does not have are refused.
bool GoOn(Constraint& constraint, bool strict, std::mt19937& random) {
  const ConstraintVocabulary& vocabulary = constraint.vocabulary();
  std::vector<uint32_t> mask;
  if (!MaskOf(constraint, &mask)) return false;
  std::vector<int32_t> allowed;
  for (int32_t id = 0; id < vocabulary.vocab(); ++id) {
    if (Has(mask, id)) allowed.push_back(id);
  }
  CHECK(!allowed.empty());
  const bool may_end = constraint.MayEnd();
  for (const int32_t id : vocabulary.end_token_ids()) CHECK(Has(mask, id) == may_end) << id;
  CHECK(!Has(mask, vocabulary.vocab() - 1));
  if (constraint.finished()) {
    CHECK(may_end && allowed == vocabulary.end_token_ids());
    return false;
  }
  const int32_t any = static_cast<int32_t>(random() % static_cast<uint32_t>(vocabulary.vocab()));
  CHECK(!strict || Has(mask, any) || !constraint.Copy()->Accept(any).ok()) << any;
  const int32_t token = allowed[random() % allowed.size()];
  const std::unique_ptr<Constraint> copy = constraint.Copy();
  const absl::Status accepted = constraint.Accept(token);
  if (!accepted.ok()) {
    CheckFailure(accepted);
    return false;
  }
  // The same way again leads to the same place.
  std::vector<uint32_t> next;
  std::vector<uint32_t> next_of_copy;
  if (copy->Accept(token).ok() && MaskOf(constraint, &next) && MaskOf(*copy, &next_of_copy)) {
    CHECK(next == next_of_copy);
  }
  return !constraint.finished();
}

}  // namespace
}  // namespace phalanx

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 3 || size > phalanx::kMaxTextBytes) return 0;
  static const auto* const vocabulary = new auto(phalanx::MakeVocabulary());
  const phalanx::ConstraintSource source = {
      static_cast<phalanx::ConstraintKind>(data[0] % 4),
      std::string(reinterpret_cast<const char*>(data) + 2, size - 2)};
  auto constraint = phalanx::Constraint::Compile(*vocabulary, source, phalanx::Limits());
  if (!constraint.ok()) {
    phalanx::CheckFailure(constraint.status());
    return 0;
  }
  // Behind a `stop` of a rule the library does not look at the rest of a token. No mask has such a
  // token, so the engine never draws one.
  const bool strict = !absl::StrContains(source.text, "stop");
  std::mt19937 random(data[1]);
  for (int i = 0; i < phalanx::kMaxTokens && phalanx::GoOn(**constraint, strict, random); ++i) {
  }
  return 0;
}
