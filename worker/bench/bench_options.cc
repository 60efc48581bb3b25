#include "worker/bench/bench_options.h"

#include "base/host_port.h"
#include "worker/bench/synthetic_model.h"

namespace phalanx {

void AddBenchOptions(CLI::App& app, BenchOptions& options) {
  // Ranks have metrics pages, which nobody asks here.
  options.worker.metrics_listen = HostPort{"127.0.0.1", 0};
  AddWorkerOptions(app, options.worker);
  // What concerns a server is of no use here.
  for (const char* name :
       {"--model_name", "--listen", "--metrics_listen", "--lame_duck", "--drain_timeout",
        "--self_probe_interval", "--max_waiting", "--max_waiting_tokens"}) {
    app.get_option(name)->group("");
  }
  app.get_option("--model")->required(false);
  const std::string group = "Bench";
  app.add_option(
         "--synthetic", options.synthetic,
         "Random weights in place of --model, in the shape of phi4_mini, smollm2 or a tiny model")
      ->check(CLI::IsMember(SyntheticShapes()))
      ->group(group);
  app.add_option("--synthetic_type", options.synthetic_type, "What they are kept in")
      ->check(CLI::IsMember(SyntheticTypes()))
      ->group(group);
  app.add_option("--prefill", options.prefill,
                 "Lengths of prompts, with commas between; 0 measures none")
      ->delimiter(',')
      ->check(CLI::Range(0, 1 << 20))
      ->group(group);
  app.add_option("--batches", options.batches,
                 "Sequences that decode at once, with commas between; 0 measures none")
      ->delimiter(',')
      ->check(CLI::Range(0, 4096))
      ->group(group);
  app.add_option("--depths", options.depths, "Tokens before those that are decoded")
      ->delimiter(',')
      ->check(CLI::Range(0, 1 << 20))
      ->group(group);
  app.add_option("--steps", options.steps, "Steps of a decode in one measurement")
      ->check(CLI::Range(1, 1 << 16))
      ->group(group);
  app.add_option("--repeats", options.repeats, "How often each case is measured")
      ->check(CLI::Range(1, 1000))
      ->group(group);
  app.add_option("--saturated_seconds", options.saturated_seconds,
                 "How long the engine is given more requests than it can run at once; 0: not")
      ->check(CLI::Range(0, 600))
      ->group(group);
  app.add_option("--mixed_prompts", options.mixed_prompts,
                 "How many prompts of 2000 tokens come, one after the other, while 8 sequences "
                 "decode; 0: none")
      ->check(CLI::Range(0, 1000))
      ->group(group);
  app.add_flag(
         "--compute_prompts", options.compute_prompts,
         "Computes the prompts of decodes in full, as is always done on GPUs and with --tp. "
         "Without it only some tokens of them are, and the KV cache is filled with zeros: the "
         "same reads, but there at once")
      ->group(group);
  app.add_flag("--interactive", options.interactive,
               "Reads what to measure from standard input, until that ends, and answers each line "
               "with one of JSON: 'prefill TOKENS', 'decode SEQUENCES DEPTH STEPS', or 'ceilings'")
      ->group(group);
  app.add_option("--json", options.json_path,
                 "A file for the results as JSON; - is standard output")
      ->type_name("FILE")
      ->group(group);
}

absl::Status CheckBenchOptions(const BenchOptions& options) {
  if (options.synthetic.empty() == options.worker.model_path.empty()) {
    return absl::InvalidArgumentError("either --model or --synthetic says what to measure");
  }
  if (!options.synthetic.empty() && options.worker.group_size() > 1) {
    return absl::InvalidArgumentError("--synthetic makes the weights of one rank, without --tp");
  }
  return CheckWorkerOptions(options.worker);
}

std::vector<BenchCase> BenchCases(const BenchOptions& options) {
  std::vector<BenchCase> cases;
  for (const int tokens : options.prefill) {
    if (tokens == 0) continue;
    cases.push_back(
        {.kind = BenchCase::Kind::kPrefill, .depth = tokens, .repeats = options.repeats});
  }
  for (const int depth : options.depths) {
    for (const int batch : options.batches) {
      if (batch == 0) continue;
      cases.push_back({.kind = BenchCase::Kind::kDecode,
                       .batch = batch,
                       .depth = depth,
                       .steps = options.steps,
                       .repeats = options.repeats});
    }
  }
  if (options.saturated_seconds > 0) {
    constexpr int kTokens = 1024;
    const int tokens = options.synthetic == "tiny" ? 8 : kTokens;
    cases.push_back({.kind = BenchCase::Kind::kSaturated,
                     .batch = options.worker.max_seqs,
                     .depth = tokens,
                     .answer = tokens,
                     .seconds = options.saturated_seconds});
  }
  if (options.mixed_prompts > 0) {
    cases.push_back({.kind = BenchCase::Kind::kMixed,
                     .batch = options.synthetic == "tiny" ? 2 : 8,
                     .depth = options.synthetic == "tiny" ? 100 : 2000,
                     .prompts = options.mixed_prompts,
                     .repeats = options.repeats});
  }
  return cases;
}

}  // namespace phalanx
