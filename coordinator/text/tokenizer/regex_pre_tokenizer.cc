#include "coordinator/text/tokenizer/regex_pre_tokenizer.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace phalanx {
namespace {

// Limits of one match. Patterns of tokenizers take a few steps for each character of a word.
constexpr uint32_t kMaxMatchSteps = 50'000'000;
constexpr uint32_t kMaxHeapKib = 64 << 10;
constexpr size_t kJitStackBytes = 1 << 20;
constexpr size_t kMaxPatternBytes = 64 << 10;

struct Free {
  void operator()(pcre2_code* p) const { pcre2_code_free(p); }
  void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
  void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
  void operator()(pcre2_jit_stack* p) const { pcre2_jit_stack_free(p); }
};

std::string ErrorText(int code) {
  PCRE2_UCHAR text[256] = {};
  pcre2_get_error_message(code, text, sizeof(text));
  return reinterpret_cast<const char*>(text);
}

absl::Status Unsupported(absl::string_view pattern, absl::string_view what) {
  return absl::UnimplementedError(
      absl::StrCat("splitting pattern ", pattern, ": \"", what, "\" is not supported"));
}

// Returns the part of `rest`, which begins outside a class and with no backslash, that the engines
// may read differently, or nothing. For example, Oniguruma matches ^ and $ at every line, and only
// to PCRE2 is {2}+ possessive.
absl::string_view AmbiguousOutsideClass(absl::string_view rest) {
  if (absl::StrContains("^$.", rest[0])) return rest.substr(0, 1);
  for (const absl::string_view ambiguous : {"(*", "}+", "[]", "[^]"}) {
    if (absl::StartsWith(rest, ambiguous)) return ambiguous;
  }
  if (!absl::StartsWith(rest, "(?")) return {};
  for (const absl::string_view plain : {"(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!"}) {
    if (absl::StartsWith(rest, plain)) return {};
  }
  return rest.substr(0, 4);
}

// Oniguruma has classes within classes, and && for what is in both.
absl::string_view AmbiguousInClass(absl::string_view rest) {
  return rest[0] == '[' || absl::StartsWith(rest, "&&") ? rest.substr(0, 2) : absl::string_view();
}

// Appends what PCRE2 calls the escape that `rest` begins with. Returns the length of the escape, or
// 0 if the engines may read it differently, as they do \h. To Oniguruma \s is White_Space, which
// includes U+0085, and \uXXXX is a character.
size_t TranslateEscape(absl::string_view rest, std::string* translated) {
  if (rest.size() < 2) return 0;
  const char escaped = rest[1];
  if (escaped == 's' || escaped == 'S') {
    absl::StrAppend(translated, escaped == 's' ? "\\p" : "\\P", "{White_Space}");
    return 2;
  }
  if (escaped == 'u' && rest.size() >= 6) {
    absl::StrAppend(translated, "\\x{", rest.substr(2, 4), "}");
    return 6;
  }
  if (escaped == 'p' || escaped == 'P') {
    const size_t end = rest.find('}');
    if (end == absl::string_view::npos || rest[2] != '{') return 0;
    absl::StrAppend(translated, rest.substr(0, end + 1));
    return end + 1;
  }
  const auto byte = static_cast<unsigned char>(escaped);
  if (byte >= 0x80 || (absl::ascii_isalnum(byte) && !absl::StrContains("dDrnt", escaped))) {
    return 0;
  }
  absl::StrAppend(translated, rest.substr(0, 2));
  return 2;
}

// Returns the pattern in the spelling that PCRE2 needs.
absl::StatusOr<std::string> TranslatePattern(absl::string_view pattern) {
  std::string translated;
  bool in_class = false;
  for (size_t at = 0; at < pattern.size();) {
    const absl::string_view rest = pattern.substr(at);
    if (rest[0] == '\\') {
      const size_t length = TranslateEscape(rest, &translated);
      if (length == 0) return Unsupported(pattern, rest.substr(0, 2));
      at += length;
      continue;
    }
    const absl::string_view ambiguous =
        in_class ? AmbiguousInClass(rest) : AmbiguousOutsideClass(rest);
    if (!ambiguous.empty()) return Unsupported(pattern, ambiguous);
    if (rest[0] == '[' || rest[0] == ']') in_class = rest[0] == '[';
    translated.push_back(rest[0]);
    ++at;
  }
  return translated;
}

// The memory that matching works in, for one thread.
struct Scratch {
  std::unique_ptr<pcre2_match_context, Free> context{pcre2_match_context_create(nullptr)};
  std::unique_ptr<pcre2_jit_stack, Free> stack{
      pcre2_jit_stack_create(32 << 10, kJitStackBytes, nullptr)};
  // Room for the bounds of the whole match only. No groups are asked for.
  std::unique_ptr<pcre2_match_data, Free> match{pcre2_match_data_create(1, nullptr)};

  Scratch() {
    pcre2_set_match_limit(context.get(), kMaxMatchSteps);
    pcre2_set_heap_limit(context.get(), kMaxHeapKib);
    pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
  }
};

class RegexSplitter {
 public:
  static absl::StatusOr<RegexSplitter> Create(const SplitRule& rule) {
    if (rule.pattern.size() > kMaxPatternBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("a splitting pattern of ", rule.pattern.size(), " bytes"));
    }
    ASSIGN_OR_RETURN(const std::string translated, TranslatePattern(rule.pattern));
    int error = 0;
    PCRE2_SIZE offset = 0;
    RegexSplitter splitter;
    splitter.rule_ = rule;
    // PCRE2_UCP makes \d go by Unicode, as in Oniguruma. With PCRE2_MATCH_INVALID_UTF a text need
    // not be UTF-8.
    splitter.code_.reset(pcre2_compile(
        reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
        PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF, &error, &offset, /*ccontext=*/nullptr));
    if (splitter.code_ == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("splitting pattern ", rule.pattern, ": ", ErrorText(error)));
    }
    // If this fails, as without executable memory, matching interprets the pattern under the same
    // limits.
    pcre2_jit_compile(splitter.code_.get(), PCRE2_JIT_COMPLETE);
    return splitter;
  }

  // Gives each piece as it is found, without a list of them: a text may have as many pieces as
  // bytes.
  absl::Status Split(absl::string_view text, const Scratch& scratch,
                     absl::FunctionRef<absl::Status(absl::string_view)> piece) const {
    size_t done = 0;
    for (size_t at = 0; at < text.size();) {
      // An empty match would cut nothing and go on for ever. Matching begins within the whole text,
      // as a pattern may look behind.
      const int code =
          pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                      PCRE2_NOTEMPTY, scratch.match.get(), scratch.context.get());
      if (code == PCRE2_ERROR_NOMATCH) break;
      if (code < 0) {
        return absl::ResourceExhaustedError(
            absl::StrCat("splitting pattern ", rule_.pattern, ": ", ErrorText(code)));
      }
      // Copied, because `piece` lets the next rule match in the same scratch.
      const PCRE2_SIZE* const bounds = pcre2_get_ovector_pointer(scratch.match.get());
      const size_t begin = bounds[0];
      const size_t end = bounds[1];
      if (begin > done && rule_.keeps_rest) {
        RETURN_IF_ERROR(piece(text.substr(done, begin - done)));
      }
      RETURN_IF_ERROR(piece(text.substr(begin, end - begin)));
      at = done = end;
    }
    if (done < text.size() && rule_.keeps_rest) return piece(text.substr(done));
    return absl::OkStatus();
  }

 private:
  RegexSplitter() = default;

  SplitRule rule_;
  std::unique_ptr<pcre2_code, Free> code_;
};

class RegexPreTokenizer final : public PreTokenizer {
 public:
  explicit RegexPreTokenizer(std::vector<RegexSplitter> splitters)
      : splitters_(std::move(splitters)) {}

  absl::Status Split(absl::string_view text, PieceSink piece) const override {
    if (text.empty()) return absl::OkStatus();
    const Scratch scratch;
    return SplitFrom(0, text, scratch, piece);
  }

 private:
  // Cuts `text` by the rule with index `rule`, and each of its pieces by the rules behind that one.
  absl::Status SplitFrom(size_t rule, absl::string_view text, const Scratch& scratch,
                         PieceSink piece) const {
    if (rule == splitters_.size()) {
      piece(text);
      return absl::OkStatus();
    }
    return splitters_[rule].Split(text, scratch, [&](absl::string_view part) {
      return SplitFrom(rule + 1, part, scratch, piece);
    });
  }

  const std::vector<RegexSplitter> splitters_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<PreTokenizer>> MakeRegexPreTokenizer(
    absl::Span<const SplitRule> rules) {
  std::vector<RegexSplitter> splitters;
  for (const SplitRule& rule : rules) {
    ASSIGN_OR_RETURN(RegexSplitter splitter, RegexSplitter::Create(rule));
    splitters.push_back(std::move(splitter));
  }
  return std::make_unique<RegexPreTokenizer>(std::move(splitters));
}

}  // namespace phalanx
