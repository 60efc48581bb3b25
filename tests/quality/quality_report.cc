// What faster arithmetic costs: a table with a line for each level of instructions, type of
// products and type of keys and values, each compared with float32 on the same text and prompts.
// `quality_report --help` tells the rest.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/log_writer.h"
#include "base/options.h"
#include "base/status.h"
#include "client/perplexity.h"
#include "coordinator/text/tokenizer/tokenizer.h"
#include "kernels/cpu/cpu_backend.h"
#include "model/checkpoint/checkpoint.h"
#include "tests/quality/text_comparison.h"
#include "worker/model/testing/rank_group.h"
#include "worker/step/testing/step_builder.h"

namespace phalanx {
namespace {

using kernels::CpuLevel;
using kernels::CpuProducts;
using kernels::KvDType;

// The levels that this machine has, but for the slow one.
std::vector<std::string> FastLevels() {
  std::vector<std::string> names;
  for (const CpuLevel level : kernels::kAllCpuLevels) {
    if (level == CpuLevel::kPortable) continue;
    if (!kernels::MakeCpuBackend({.num_threads = 1, .level = level}).ok()) continue;
    names.push_back(kernels::CpuLevelName(level));
  }
  return names;
}

struct ReportOptions {
  std::string model;
  std::string text;
  std::vector<std::string> levels = FastLevels();
  int threads = 2;
  int max_tokens = 1 << 20;
  int window_tokens = 1024;
  int stride_tokens = 512;
  int answer_tokens = 64;
};

constexpr int kPrompts = 20;
constexpr int kPromptTokens = 48;
// Tokens whose logits are taken in one step.
constexpr int kLogitRows = 64;

// One way to compute.
struct Arithmetic {
  CpuLevel level = CpuLevel::kBest;
  CpuProducts products = CpuProducts::kFloat32;
  KvDType kv_cache = KvDType::kF32;
};

const char* ProductsName(CpuProducts products) {
  switch (products) {
    case CpuProducts::kFloat32:
      return "float32";
    case CpuProducts::kInt8:
      return "int8";
    case CpuProducts::kBFloat16:
      return "bfloat16";
  }
  return "";
}

// A model that computes in one way, and what came of it.
class Candidate {
 public:
  Candidate(const ReportOptions& options, const Arithmetic& arithmetic)
      : arithmetic_(arithmetic), group_(options.model, /*world=*/1, LimitsOf(options), [&] {
          return *kernels::MakeCpuBackend({.num_threads = options.threads,
                                           .level = arithmetic.level,
                                           .products = arithmetic.products,
                                           .kv_cache = arithmetic.kv_cache});
        }) {}

  // The distributions before the tokens [first, end) of `tokens`; `first` is at least 1.
  std::vector<NextTokens> Expect(absl::Span<const int32_t> tokens, int64_t first) {
    TestSequence sequence = Sequence(0, tokens.subspan(0, tokens.size() - 1));
    std::vector<NextTokens> expected;
    while (sequence.pending_tokens() > 0) {
      const int64_t skipped = first - 1 - sequence.cached_tokens;
      const int count = static_cast<int>(skipped > 0 ? skipped : kLogitRows);
      StepBuilder builder;
      builder.Add(sequence, std::min(count, sequence.pending_tokens()));
      const bool wanted = skipped <= 0;
      if (wanted) builder.WantAllLogits();
      const Step step = builder.Finish();
      CHECK(group_.Run(step).ok());
      if (!wanted) continue;
      const int rows = step.sampling.counts().num_logit_rows;
      for (int row = 0; row < rows; ++row) expected.emplace_back(group_.Logits(row));
    }
    return expected;
  }

  // The greedy answers to all prompts, `count` tokens each.
  std::vector<std::vector<int32_t>> Answer(const std::vector<std::vector<int32_t>>& prompts,
                                           int count) {
    std::vector<TestSequence> sequences;
    for (size_t i = 0; i < prompts.size(); ++i) {
      sequences.push_back(Sequence(static_cast<int>(i), prompts[i]));
    }
    std::vector<std::vector<int32_t>> answers(prompts.size());
    for (int n = 0; n < count; ++n) {
      StepBuilder builder;
      for (TestSequence& sequence : sequences) builder.Add(sequence, sequence.pending_tokens());
      const absl::StatusOr<StepResult> result = group_.Run(builder.Finish());
      CHECK(result.ok()) << result.status();
      for (size_t i = 0; i < sequences.size(); ++i) {
        sequences[i].tokens.push_back(result->tokens[i]);
        answers[i].push_back(result->tokens[i]);
      }
    }
    return answers;
  }

  std::string Name() const {
    return absl::StrCat(ProductsName(arithmetic_.products), " | ",
                        kernels::KvDTypeName(arithmetic_.kv_cache), " | ",
                        kernels::CpuLevelName(arithmetic_.level));
  }
  TextComparison& comparison() { return comparison_; }

 private:
  static constexpr int kBlocksOfPrompt = 16;  // 256 tokens.

  static StepLimits LimitsOf(const ReportOptions& options) {
    const int blocks = std::max(kPrompts * kBlocksOfPrompt, options.window_tokens / 16 + 1);
    return {.max_step_tokens = std::max(options.window_tokens, kPrompts * kPromptTokens),
            .max_seqs = kLogitRows,
            .max_blocks_per_seq = blocks,
            .kv_blocks = blocks};
  }

  // The first sequence has all blocks that others do not need.
  static TestSequence Sequence(int index, absl::Span<const int32_t> tokens) {
    TestSequence sequence;
    sequence.tokens.assign(tokens.begin(), tokens.end());
    sequence.slot = index;
    const int count = std::max<int>(kBlocksOfPrompt, static_cast<int>(tokens.size()) / 16 + 1);
    for (int i = 0; i < count; ++i) {
      sequence.blocks.push_back(1 + index * kBlocksOfPrompt + i);
    }
    return sequence;
  }

  const Arithmetic arithmetic_;
  RankGroup group_;
  TextComparison comparison_;
};

absl::StatusOr<std::vector<int32_t>> ReadTokens(const ReportOptions& options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> checkpoint, Checkpoint::Open(options.model));
  ASSIGN_OR_RETURN(TokenizerAssets assets, checkpoint->ReadTokenizer());
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer,
                   Tokenizer::Create(std::move(assets)));
  std::ifstream file(options.text);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  ASSIGN_OR_RETURN(std::vector<int32_t> tokens, tokenizer->Encode(text));
  tokens.resize(std::min<size_t>(tokens.size(), options.max_tokens));
  if (tokens.size() < 2 * kPrompts * kPromptTokens) {
    return absl::InvalidArgumentError("the text is too short");
  }
  return tokens;
}

absl::StatusOr<std::vector<std::unique_ptr<Candidate>>> MakeCandidates(
    const ReportOptions& options) {
  std::vector<std::unique_ptr<Candidate>> candidates;
  for (const std::string& name : options.levels) {
    ASSIGN_OR_RETURN(const CpuLevel level, kernels::ParseCpuLevel(name));
    const absl::Status status = kernels::MakeCpuBackend({.level = level}).status();
    if (!status.ok()) {
      LOG(WARNING) << "left out: " << status.message();
      continue;
    }
    for (const CpuProducts products :
         {CpuProducts::kFloat32, CpuProducts::kBFloat16, CpuProducts::kInt8}) {
      for (const KvDType kv_cache : {KvDType::kF32, KvDType::kBF16, KvDType::kInt8}) {
        candidates.push_back(
            std::make_unique<Candidate>(options, Arithmetic{level, products, kv_cache}));
      }
    }
  }
  return candidates;
}

// Compares all candidates on the text, window by window.
void CompareTexts(const ReportOptions& options, const std::vector<int32_t>& tokens,
                  Candidate& truth, std::vector<std::unique_ptr<Candidate>>& candidates) {
  const auto windows = PlanWindows(static_cast<int64_t>(tokens.size()), options.window_tokens,
                                   options.stride_tokens);
  for (const ScoreWindow& window : windows) {
    const auto part = absl::MakeConstSpan(tokens).subspan(window.begin, window.end - window.begin);
    const int64_t first = window.first_counted - window.begin;
    const std::vector<NextTokens> expected = truth.Expect(part, first);
    const auto compare = [&](Candidate& candidate, const std::vector<NextTokens>& others) {
      for (size_t i = 0; i < expected.size(); ++i) {
        candidate.comparison().Add(expected[i], others[i], part[first + i]);
      }
    };
    compare(truth, expected);
    for (const auto& candidate : candidates) compare(*candidate, candidate->Expect(part, first));
    std::fprintf(stderr, "%lld of %zu tokens\n", static_cast<long long>(window.end), tokens.size());
  }
}

absl::Status Report(const ReportOptions& options) {
  ASSIGN_OR_RETURN(const std::vector<int32_t> tokens, ReadTokens(options));
  Candidate truth(options, {});
  ASSIGN_OR_RETURN(auto candidates, MakeCandidates(options));
  CompareTexts(options, tokens, truth, candidates);

  // Pieces of the text, which the model goes on with.
  std::vector<std::vector<int32_t>> prompts;
  for (int i = 0; i < kPrompts; ++i) {
    const auto begin = tokens.begin() + static_cast<int64_t>(tokens.size()) * i / kPrompts;
    prompts.emplace_back(begin, begin + kPromptTokens);
  }
  const auto golden = truth.Answer(prompts, options.answer_tokens);
  const double perplexity = truth.comparison().perplexity();
  std::printf("%lld tokens, float32: perplexity %.4f; %d prompts, answers of %d tokens\n\n",
              static_cast<long long>(truth.comparison().num_tokens()), perplexity, kPrompts,
              options.answer_tokens);
  std::printf(
      "| products | keys and values | level | perplexity | change | mean KL, nats | same best "
      "token | same answers | tokens in common |\n");
  std::printf("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n");
  for (const auto& candidate : candidates) {
    int same = 0;
    double common = 0;
    const auto answers = candidate->Answer(prompts, options.answer_tokens);
    for (int i = 0; i < kPrompts; ++i) {
      same += answers[i] == golden[i];
      common += CommonPrefix(answers[i], golden[i]);
    }
    const TextComparison& comparison = candidate->comparison();
    std::printf("| %s | %.4f | %+.3f %% | %.2e | %.2f %% | %d of %d | %.1f |\n",
                candidate->Name().c_str(), comparison.perplexity(),
                100 * (comparison.perplexity() / perplexity - 1), comparison.mean_divergence(),
                100 * comparison.agreement(), same, kPrompts, common / kPrompts);
  }
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  CLI::App app("Compares ways to compute on CPUs with float32: perplexity, distributions, answers.",
               "quality_report");
  ReportOptions options;
  AddStandardOptions(app);
  app.add_option("--model", options.model, "A GGUF file or a Hugging Face folder")->required();
  app.add_option("--text", options.text, "A file of text")->required();
  app.add_option("--levels", options.levels, "Of instructions (--cpu_level), with commas between")
      ->delimiter(',');
  app.add_option("--threads", options.threads, "Of the computation")->check(CLI::Range(1, 1024));
  app.add_option("--max_tokens", options.max_tokens, "Of the text; those after them are left out");
  app.add_option("--window", options.window_tokens, "Tokens that see each other, at most")
      ->check(CLI::Range(2, 1 << 16));
  app.add_option("--stride", options.stride_tokens,
                 "How far the next window begins behind the last")
      ->check(CLI::Range(1, 1 << 16));
  app.add_option("--answer_tokens", options.answer_tokens, "Of each greedy answer")
      ->check(CLI::Range(1, 200));
  if (const std::optional<int> exit_code = ParseCommandLine(app, argc, argv)) return *exit_code;
  const LogWriter log_writer({});
  const absl::Status status = Report(options);
  if (status.ok()) return kExitOk;
  LOG(ERROR) << status;
  return kExitFailure;
}

}  // namespace
}  // namespace phalanx

int main(int argc, char** argv) { return phalanx::Main(argc, argv); }
