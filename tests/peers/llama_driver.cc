// Measures llama.cpp on the cases that worker/bench measures, by the same lines: see --interactive
// of //worker/bench:engine_bench. build_llama.sh compiles it with llama.cpp; Bazel does not.
//
// Usage: llama_driver MODEL THREADS           answers lines of standard input
//        llama_driver --quantize IN OUT       writes IN anew with matrices in Q4_0
//
// What favours llama.cpp: it draws no tokens, since decodes are given fixed ones.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "llama.h"

namespace {

constexpr int kMaxBatchTokens = 512;
constexpr int kWarmSteps = 4;

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "llama_driver: %s\n", what.c_str());
  std::exit(1);
}

void LogErrors(ggml_log_level level, const char* text, void*) {
  if (level >= GGML_LOG_LEVEL_WARN && level != GGML_LOG_LEVEL_CONT) std::fputs(text, stderr);
}

using Context = std::unique_ptr<llama_context, void (*)(llama_context*)>;

class Driver {
 public:
  Driver(const std::string& path, int threads) : threads_(threads) {
    model_ = llama_model_load_from_file(path.c_str(), llama_model_default_params());
    if (model_ == nullptr) Die("cannot load " + path);
    vocab_ = llama_vocab_n_tokens(llama_model_get_vocab(model_));
  }

  // Seconds until the first token of a prompt of so many tokens.
  double Prefill(int tokens) {
    Context context = MakeContext(1, tokens + 1);
    const auto start = std::chrono::steady_clock::now();
    TakeIn(context.get(), 0, tokens);
    return SecondsSince(start);
  }

  // Seconds of each step in which `sequences` of `depth` tokens decode, the mean of `steps`. What
  // their prompts left in the cache is kept for the next time.
  double Decode(int sequences, int depth, int steps) {
    const std::pair<int, int> key{sequences, depth};
    const int most = depth + kWarmSteps + std::max(steps, 64) + 1;
    auto found = prepared_.find(key);
    if (found == prepared_.end()) {
      found = prepared_.emplace(key, MakeContext(sequences, most)).first;
      for (int sequence = 0; sequence < sequences; ++sequence) {
        TakeIn(found->second.get(), sequence, std::max(depth, 1));
      }
    }
    llama_context* const context = found->second.get();
    int position = std::max(depth, 1);
    for (int i = 0; i < kWarmSteps; ++i) Step(context, sequences, position++);
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < steps; ++i) Step(context, sequences, position++);
    const double seconds = SecondsSince(start) / steps;
    for (int sequence = 0; sequence < sequences; ++sequence) {
      llama_memory_seq_rm(llama_get_memory(context), sequence, std::max(depth, 1), -1);
    }
    // Those of short prompts are quickly made anew and would take memory.
    if (depth < 1024) prepared_.erase(found);
    return seconds;
  }

 private:
  static double SecondsSince(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  Context MakeContext(int sequences, int tokens) {
    llama_context_params params = llama_context_default_params();
    // Each sequence has its own part of the cache, in units of 256 tokens.
    params.n_ctx = static_cast<uint32_t>(sequences) * ((tokens + 255) / 256 * 256);
    params.n_batch = kMaxBatchTokens;
    params.n_ubatch = kMaxBatchTokens;
    params.n_seq_max = sequences;
    params.n_threads = threads_;
    params.n_threads_batch = threads_;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
    params.no_perf = true;
    Context context(llama_init_from_model(model_, params), llama_free);
    if (context == nullptr) Die("cannot make a context");
    return context;
  }

  void Compute(llama_context* context, const llama_batch& batch) {
    if (llama_decode(context, batch) != 0) Die("llama_decode failed");
    llama_synchronize(context);
  }

  // Takes in a prompt, whose last token has logits.
  void TakeIn(llama_context* context, int sequence, int tokens) {
    llama_batch batch = llama_batch_init(kMaxBatchTokens, 0, 1);
    for (int begin = 0; begin < tokens; begin += kMaxBatchTokens) {
      batch.n_tokens = std::min(kMaxBatchTokens, tokens - begin);
      for (int i = 0; i < batch.n_tokens; ++i) {
        SetToken(batch, i, sequence, begin + i, begin + i + 1 == tokens);
      }
      Compute(context, batch);
    }
    llama_batch_free(batch);
  }

  void Step(llama_context* context, int sequences, int position) {
    llama_batch batch = llama_batch_init(sequences, 0, 1);
    batch.n_tokens = sequences;
    for (int sequence = 0; sequence < sequences; ++sequence) {
      SetToken(batch, sequence, sequence, position, true);
    }
    Compute(context, batch);
    llama_batch_free(batch);
  }

  // The same tokens as those of worker/bench/bench_engine.cc.
  void SetToken(llama_batch& batch, int i, int sequence, int position, bool with_logits) const {
    const uint64_t token =
        static_cast<uint64_t>(sequence) * 7919 + static_cast<uint64_t>(position) * 104729 + 13;
    batch.token[i] = static_cast<llama_token>(token % static_cast<uint64_t>(vocab_));
    batch.pos[i] = position;
    batch.n_seq_id[i] = 1;
    batch.seq_id[i][0] = sequence;
    batch.logits[i] = with_logits ? 1 : 0;
  }

  const int threads_;
  llama_model* model_ = nullptr;
  int vocab_ = 0;
  std::map<std::pair<int, int>, Context> prepared_;
};

void Answer(const char* kind, int sequences, int tokens, double seconds, int computed) {
  std::printf(
      "{\"case\":\"%s\",\"sequences\":%d,\"tokens\":%d,\"tokens_per_second\":%.6g,"
      "\"seconds\":[%.9g]}\n",
      kind, sequences, tokens, computed / seconds, seconds);
  std::fflush(stdout);
}

int Quantize(const char* from, const char* to) {
  llama_model_quantize_params params = llama_model_quantize_default_params();
  params.ftype = LLAMA_FTYPE_MOSTLY_Q4_0;
  params.allow_requantize = true;
  // The table stays what it is, so that both files have the same one.
  params.quantize_output_tensor = false;
  params.token_embedding_type = GGML_TYPE_COUNT;
  return llama_model_quantize(from, to, &params) == 0 ? 0 : 1;
}

void AnswerLines(Driver& driver) {
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string kind;
    int sequences = 1, tokens = 0, steps = 1;
    words >> kind;
    if (kind == "prefill" && words >> tokens && tokens > 0) {
      Answer("prefill", 1, tokens, driver.Prefill(tokens), tokens);
    } else if (kind == "decode" && words >> sequences >> tokens >> steps && sequences > 0 &&
               tokens >= 0 && steps > 0) {
      Answer("decode", sequences, tokens, driver.Decode(sequences, tokens, steps), sequences);
    } else {
      Die("'" + line + "' is neither 'prefill TOKENS' nor 'decode SEQUENCES DEPTH STEPS'");
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  llama_log_set(LogErrors, nullptr);
  llama_backend_init();
  if (argc == 4 && std::string(argv[1]) == "--quantize") return Quantize(argv[2], argv[3]);
  if (argc != 3 || std::atoi(argv[2]) < 1) {
    std::fprintf(stderr, "usage: llama_driver MODEL THREADS | --quantize IN OUT\n");
    return 2;
  }
  Driver driver(argv[1], std::atoi(argv[2]));
  std::string info = llama_print_system_info();
  std::replace(info.begin(), info.end(), '"', '\'');
  std::printf("{\"backend\":\"llama.cpp %s\",\"threads\":%s}\n", info.c_str(), argv[2]);
  std::fflush(stdout);
  AnswerLines(driver);
  return 0;
}
