// Measures how the time of a tokenizer grows with the length of its text: `tokenizer_growth_bench
// TOKENIZER...`, each a GGUF file or a tokenizer.json.
//
// For texts of one kind of character it prints the milliseconds of processor time for 1 MB and for
// 2 MB, the least of a few rounds, and their ratio. It does so with the tokenizer's own splitting
// rules, then with rules that mean the same but are no known ones, so that PCRE2 cuts the text.
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <limits>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "coordinator/text/testing/tokenizer_file.h"
#include "coordinator/text/tokenizer/tokenizer.h"

namespace phalanx {
namespace {

constexpr size_t kBytes = 1 << 20;
constexpr int kRounds = 9;

double ProcessorSeconds() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

std::string Repeat(absl::string_view piece, size_t bytes) {
  std::string text;
  while (text.size() < bytes) text.append(piece.data(), piece.size());
  return text;
}

std::string Random(absl::string_view characters, size_t bytes) {
  uint64_t state = 1;
  std::string text(bytes, ' ');
  for (char& c : text) {
    // The generator of Knuth's MMIX, so that all runs measure the same text.
    state = state * 6364136223846793005u + 1442695040888963407u;
    c = characters[(state >> 33) % characters.size()];
  }
  return text;
}

double Seconds(const Tokenizer& tokenizer, absl::string_view text) {
  const double begin = ProcessorSeconds();
  const auto ids = tokenizer.Encode(text);
  const double seconds = ProcessorSeconds() - begin;
  return ids.ok() ? seconds : std::numeric_limits<double>::infinity();
}

void Measure(const char* name, const Tokenizer& tokenizer) {
  constexpr absl::string_view kBase64 =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const struct {
    const char* name;
    std::string text;
  } texts[] = {
      {"one letter", Repeat("a", 2 * kBytes)},
      {"capitals", Repeat("A", 2 * kBytes)},
      {"spaces", Repeat(" ", 2 * kBytes)},
      {"spaces, x", Repeat(" ", 2 * kBytes - 1) + "x"},
      {"lines", Repeat("\n", 2 * kBytes)},
      {"digits", Random("0123456789", 2 * kBytes)},
      {"base64", Random(kBase64, 2 * kBytes)},
      {"emoji", Repeat("😀", 2 * kBytes)},
      {"marks", Repeat("\u0301\u0327", 2 * kBytes)},
      {"control", Repeat("<|im_start|> ", 2 * kBytes)},
      {"not UTF-8", Repeat("\xff", 2 * kBytes)},
  };
  for (const auto& [what, text] : texts) {
    double once = std::numeric_limits<double>::infinity();
    double twice = once;
    for (int i = 0; i < kRounds; ++i) {
      once = std::min(once, Seconds(tokenizer, absl::string_view(text).substr(text.size() / 2)));
      twice = std::min(twice, Seconds(tokenizer, text));
    }
    std::printf("%-6s %-10s %8.1f ms %8.1f ms %6.2f\n", name, what, once * 1e3, twice * 1e3,
                twice / once);
  }
}

int Run(const char* path) {
  auto assets = ReadTokenizerFile(path);
  if (!assets.ok()) {
    std::fprintf(stderr, "tokenizer_growth_bench: %s\n", assets.status().ToString().c_str());
    return 1;
  }
  std::printf("%s\n", path);
  Measure("own", **Tokenizer::Create(*assets));
  // A group around the pattern changes nothing but its text, so that no scanner is found for it.
  for (SplitRule& rule : assets->split_rules) rule.pattern = absl::StrCat("(?:", rule.pattern, ")");
  Measure("PCRE2", **Tokenizer::Create(*std::move(assets)));
  return 0;
}

}  // namespace
}  // namespace phalanx

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (const int code = phalanx::Run(argv[i]); code != 0) return code;
  }
  return argc > 1 ? 0 : 2;
}
