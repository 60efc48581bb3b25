// What constraints cost with Phi-4-mini's vocabulary of 200,064 tokens: to make the vocabulary, to
// compile, and for each token of texts that are drawn at random from what the masks allow. Prints
// medians and percentiles of all tokens, the first text apart, since its states are new.
//
// Usage: constraint_bench [TEXTS]; by default 40 texts of at most 200 tokens for each constraint
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/log.h"
#include "model/text/tokenizer_assets_hf.h"
#include "worker/constraint/constraint.h"

namespace phalanx {
namespace {

constexpr int kVocab = 200'064;
constexpr int kMaxTokens = 200;

struct NamedSource {
  const char* name;
  ConstraintSource source;
};

std::vector<NamedSource> Sources() {
  return {
      {"a JSON object of any form", {ConstraintKind::kJsonSchema, R"({"type":"object"})"}},
      {"a person: 6 fields, a list",
       {ConstraintKind::kJsonSchema,
        R"({"type":"object","properties":{"name":{"type":"string","maxLength":40},
            "age":{"type":"integer","minimum":0,"maximum":150},"email":{"type":["string","null"]},
            "member":{"type":"boolean"},"born":{"type":"string","format":"date"},
            "tags":{"type":"array","items":{"type":"string"},"maxItems":5}},
            "required":["name","age","email","member","born","tags"],
            "additionalProperties":false})"}},
      {"a call of one of two functions",
       {ConstraintKind::kJsonSchema,
        R"({"anyOf":[{"type":"object","properties":{"name":{"const":"add"},"arguments":
            {"type":"object","properties":{"a":{"type":"number"},"b":{"type":"number"}},
            "required":["a","b"],"additionalProperties":false}},"required":["name","arguments"],
            "additionalProperties":false},{"type":"object","properties":{"name":{"const":"say"},
            "arguments":{"type":"object","properties":{"text":{"type":"string"}},
            "required":["text"],"additionalProperties":false}},"required":["name","arguments"],
            "additionalProperties":false}]})"}},
      {"a regular expression", {ConstraintKind::kRegex, "([A-Z][a-z]+ ){3,20}[0-9]{4}-[0-9]{2}"}},
      {"a grammar of sums",
       {ConstraintKind::kLark,
        "start: sum\nsum: product | sum \"+\" product\nproduct: atom | product \"*\" atom\n"
        "atom: N | \"(\" sum \")\"\nN: /[0-9]+/"}},
  };
}

double Microseconds() {
  timespec time = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) * 1e-3;
}

double Percentile(std::vector<double> values, int percent) {
  if (values.empty()) return 0;
  const size_t at = (values.size() - 1) * static_cast<size_t>(percent) / 100;
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(at), values.end());
  return values[at];
}

// Any of the tokens that a mask allows; the end only if there is no other.
int32_t Draw(const std::vector<uint32_t>& mask, const ConstraintVocabulary& vocabulary,
             std::mt19937& random) {
  std::vector<int32_t> allowed;
  for (int32_t id = 0; id < vocabulary.vocab(); ++id) {
    if ((mask[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0) allowed.push_back(id);
  }
  CHECK(!allowed.empty());
  const std::vector<int32_t>& ends = vocabulary.end_token_ids();
  while (true) {
    const int32_t token = allowed[random() % allowed.size()];
    const bool is_end = std::binary_search(ends.begin(), ends.end(), token);
    if (!is_end || allowed.size() <= ends.size()) return token;
  }
}

// What each token took, in microseconds: the mask, going on by the token, and a copy to look ahead.
struct Times {
  std::vector<double> masks;
  std::vector<double> accepts;
  std::vector<double> copies;
};

void Write(const Constraint& start, std::mt19937& random, Times* times) {
  const std::unique_ptr<Constraint> constraint = start.Copy();
  std::vector<uint32_t> mask(static_cast<size_t>(constraint->vocabulary().mask_words()));
  for (int i = 0; i < kMaxTokens && !constraint->finished(); ++i) {
    const double begin = Microseconds();
    CHECK(constraint->Mask(absl::MakeSpan(mask)).ok());
    times->masks.push_back(Microseconds() - begin);
    const int32_t token = Draw(mask, constraint->vocabulary(), random);
    const double accept = Microseconds();
    CHECK(constraint->Accept(token).ok());
    times->accepts.push_back(Microseconds() - accept);
    const double copy = Microseconds();
    constraint->Copy().reset();
    times->copies.push_back(Microseconds() - copy);
  }
}

void Run(int texts) {
  std::string folder = std::getenv("PHI4_MINI");
  folder.resize(folder.rfind('/'));
  const TokenizerAssets assets = *ReadTokenizerAssets(folder, kVocab);
  double begin = Microseconds();
  const auto vocabulary = *ConstraintVocabulary::Create(assets, kVocab);
  std::printf("vocabulary of %d tokens: %.0f ms\n", kVocab, (Microseconds() - begin) / 1e3);
  std::printf("%-32s %10s %12s %10s %10s %10s %10s %10s %10s\n", "microseconds", "compile",
              "first text", "median", "p90", "p99", "accept", "copy", "copy p99");
  for (const auto& [name, source] : Sources()) {
    begin = Microseconds();
    const auto constraint = *Constraint::Compile(vocabulary, source, {});
    const double compile = Microseconds() - begin;
    std::mt19937 random(1);
    Times first;
    Times times;
    Write(*constraint, random, &first);
    for (int i = 0; i < texts; ++i) Write(*constraint, random, &times);
    std::printf("%-32s %10.0f %12.1f %10.1f %10.1f %10.1f %10.1f %10.1f %10.1f\n", name, compile,
                Percentile(first.masks, 50), Percentile(times.masks, 50),
                Percentile(times.masks, 90), Percentile(times.masks, 99),
                Percentile(times.accepts, 50), Percentile(times.copies, 50),
                Percentile(times.copies, 99));
  }
}

}  // namespace
}  // namespace phalanx

int main(int argc, char** argv) {
  phalanx::Run(argc > 1 ? std::atoi(argv[1]) : 40);
  return 0;
}
