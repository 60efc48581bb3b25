#include "coordinator/text/tokenizer/make_pre_tokenizer.h"

#include <cstddef>

#include "coordinator/text/tokenizer/regex_pre_tokenizer.h"
#include "coordinator/text/tokenizer/word_scanners.h"
#include "model/text/split_patterns.h"

namespace phalanx {
namespace {

using PieceLength = size_t (*)(absl::string_view);

class ScanningPreTokenizer final : public PreTokenizer {
 public:
  explicit ScanningPreTokenizer(PieceLength piece_length) : piece_length_(piece_length) {}

  absl::Status Split(absl::string_view text, PieceSink piece) const override {
    while (!text.empty()) {
      const size_t length = piece_length_(text);
      piece(text.substr(0, length));
      text.remove_prefix(length);
    }
    return absl::OkStatus();
  }

 private:
  const PieceLength piece_length_;
};

// Returns null if there is no scanner for the rules. Every character is part of some match of the
// known patterns, so that it does not matter what a rule does with text between matches.
// kDigitPattern alone does not match everything, so rules with it must keep the rest.
PieceLength FindScanner(absl::Span<const SplitRule> rules) {
  static constexpr absl::string_view kGpt2[] = {kGpt2Pattern};
  static constexpr absl::string_view kSmolLm[] = {kDigitPattern, kGpt2Pattern};
  static constexpr absl::string_view kLlama3[] = {kLlama3Pattern};
  static constexpr absl::string_view kQwen2[] = {kQwen2Pattern};
  static constexpr absl::string_view kO200k[] = {kO200kPattern};
  const struct {
    absl::Span<const absl::string_view> patterns;
    PieceLength piece_length;
  } known[] = {{kGpt2, Gpt2PieceLength},
               {kSmolLm, SmolLmPieceLength},
               {kLlama3, Llama3PieceLength},
               {kQwen2, Qwen2PieceLength},
               {kO200k, O200kPieceLength}};
  for (const auto& [patterns, piece_length] : known) {
    bool same = patterns.size() == rules.size();
    for (size_t i = 0; same && i < rules.size(); ++i) {
      same = rules[i].pattern == patterns[i] && (rules[i].keeps_rest || rules.size() == 1);
    }
    if (same) return piece_length;
  }
  return nullptr;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PreTokenizer>> MakePreTokenizer(absl::Span<const SplitRule> rules) {
  if (const PieceLength scanner = FindScanner(rules)) {
    return std::make_unique<ScanningPreTokenizer>(scanner);
  }
  return MakeRegexPreTokenizer(rules);
}

}  // namespace phalanx
