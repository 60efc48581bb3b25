// Measures servers that run: tokens per second and time to first token, by number of streams.
//
// Servers and numbers of streams take turns within each round, so that a machine that gets slower
// or faster meanwhile does not favour one of them; the table shows medians over the rounds.
#include <algorithm>
#include <iostream>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/clock.h"
#include "base/options.h"
#include "base/status.h"
#include "client/inference_client.h"
#include "tests/load/stream_timing.h"

namespace phalanx {
namespace {

struct Flags {
  std::vector<std::string> targets = {"127.0.0.1:50051"};
  std::vector<int> streams = {1, 8};
  int rounds = 5;
  int max_new_tokens = 128;
  int prompt_words = 32;
  float temperature = 0;
  float top_p = 1;
};

using Rounds = std::vector<RoundFigures>;

v1::GenerateRequest MakeRequest(const Flags& flags, int stream) {
  // Streams differ from the first token on, so that nothing can be shared between them.
  std::string prompt = absl::StrCat("Stream ", stream, ":");
  for (int i = 0; i < flags.prompt_words; ++i) absl::StrAppend(&prompt, " word");
  v1::GenerateRequest request;
  request.set_text(prompt);
  // Nor between rounds.
  request.set_cache_salt(absl::StrCat("load ", std::random_device()()));
  request.mutable_sampling()->set_temperature(flags.temperature);
  request.mutable_sampling()->set_top_p(flags.top_p);
  request.set_max_new_tokens(flags.max_new_tokens);
  request.set_ignore_eos(true);
  return request;
}

absl::StatusOr<StreamTiming> RunStream(InferenceClient& client,
                                       const v1::GenerateRequest& request) {
  const Clock& clock = *MonotonicClock();
  StreamTiming timing;
  timing.start = clock.Now();
  RETURN_IF_ERROR(client.Generate(request, {}, [&](const v1::GenerateEvent& event) {
    if (event.delta().token_ids_size() > 0) {
      timing.last_token = clock.Now();
      if (timing.num_tokens == 0) timing.first_token = timing.last_token;
      timing.num_tokens += event.delta().token_ids_size();
    }
    return absl::OkStatus();
  }));
  return timing;
}

absl::StatusOr<RoundFigures> RunTogether(InferenceClient& client, const Flags& flags,
                                         int num_streams) {
  std::vector<absl::StatusOr<StreamTiming>> results(static_cast<size_t>(num_streams));
  std::vector<std::thread> threads;
  for (int i = 0; i < num_streams; ++i) {
    threads.emplace_back([&client, &flags, &result = results[static_cast<size_t>(i)], i] {
      result = RunStream(client, MakeRequest(flags, i));
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<StreamTiming> timings;
  for (const absl::StatusOr<StreamTiming>& result : results) {
    RETURN_IF_ERROR(result.status());
    timings.push_back(*result);
  }
  return Summarize(timings);
}

// How much faster `rounds` decode than `base` do, round by round: "1.05 (1.01 to 1.08)".
std::string SpeedUp(const Rounds& rounds, const Rounds& base) {
  std::vector<double> ratios;
  for (size_t i = 0; i < rounds.size(); ++i) {
    ratios.push_back(rounds[i].decode_tokens_per_second / base[i].decode_tokens_per_second);
  }
  const auto [least, most] = std::minmax_element(ratios.begin(), ratios.end());
  return absl::StrFormat("%.2f (%.2f to %.2f)", Median(ratios), *least, *most);
}

// `rounds` is by number of streams, then by target.
void PrintTable(const Flags& flags, const std::vector<std::vector<Rounds>>& rounds) {
  std::cout << absl::StreamFormat("%-21s  %7s  %8s  %8s  %20s  %11s  %10s\n", "target", "streams",
                                  "tokens/s", "decode/s", "to first target", "median TTFT",
                                  "worst TTFT");
  for (size_t i = 0; i < flags.streams.size(); ++i) {
    for (size_t target = 0; target < flags.targets.size(); ++target) {
      const RoundFigures figures = MedianRound(rounds[i][target]);
      std::cout << absl::StreamFormat("%-21s  %7d  %8.1f  %8.1f  %20s  %8.0f ms  %7.0f ms\n",
                                      flags.targets[target], flags.streams[i],
                                      figures.tokens_per_second, figures.decode_tokens_per_second,
                                      target == 0 ? "" : SpeedUp(rounds[i][target], rounds[i][0]),
                                      absl::ToDoubleMilliseconds(figures.median_first_token),
                                      absl::ToDoubleMilliseconds(figures.worst_first_token));
    }
  }
}

absl::Status Run(const Flags& flags) {
  std::vector<std::unique_ptr<InferenceClient>> clients;
  for (const std::string& target : flags.targets) {
    clients.push_back(std::make_unique<InferenceClient>(InferenceClient::Options{target}));
    // Warms caches and connections, and is not counted.
    RETURN_IF_ERROR(RunTogether(*clients.back(), flags, 1).status());
  }
  std::vector<std::vector<Rounds>> rounds(flags.streams.size(),
                                          std::vector<Rounds>(clients.size()));
  for (int round = 0; round < flags.rounds; ++round) {
    for (size_t i = 0; i < flags.streams.size(); ++i) {
      for (size_t turn = 0; turn < clients.size(); ++turn) {
        // Another one begins in each round.
        const size_t target = (turn + static_cast<size_t>(round)) % clients.size();
        ASSIGN_OR_RETURN(const RoundFigures figures,
                         RunTogether(*clients[target], flags, flags.streams[i]));
        rounds[i][target].push_back(figures);
      }
    }
  }
  PrintTable(flags, rounds);
  return absl::OkStatus();
}

}  // namespace
}  // namespace phalanx

int main(int argc, char** argv) {
  phalanx::Flags flags;
  CLI::App app("Measures tokens per second of a Phalanx server.", "load_bench");
  phalanx::AddStandardOptions(app);
  app.add_option("--target", flags.targets,
                 "HOST:PORT of a coordinator; several, with commas, are compared with the first")
      ->delimiter(',');
  app.add_option("--streams", flags.streams, "Numbers of streams at once")
      ->delimiter(',')
      ->check(CLI::Range(1, 1024));
  app.add_option("--rounds", flags.rounds, "How often each is measured")
      ->check(CLI::Range(1, 1000));
  app.add_option("--max_new_tokens", flags.max_new_tokens, "Length of each answer in tokens");
  app.add_option("--prompt_words", flags.prompt_words, "Length of each prompt in words");
  app.add_option("--temperature", flags.temperature, "0 is greedy");
  app.add_option("--top_p", flags.top_p, "1 is off");
  if (const std::optional<int> exit_code = phalanx::ParseCommandLine(app, argc, argv)) {
    return *exit_code;
  }
  const absl::Status status = phalanx::Run(flags);
  if (!status.ok()) std::cerr << "load_bench: " << status << "\n";
  return status.ok() ? phalanx::kExitOk : phalanx::kExitFailure;
}
