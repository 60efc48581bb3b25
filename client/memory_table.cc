#include "client/memory_table.h"

#include <array>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/bytes_text.h"
#include "model/sharding/gpu_memory.h"

namespace phalanx {
namespace {

std::string TableOfCpus(const Inspection& found) {
  const std::array<std::string, 8> heading = {"RANK",  "Q HEADS", "KV HEADS",   "FFN",
                                              "VOCAB", "WEIGHTS", "KV A TOKEN", "LONGEST CONTEXT"};
  const auto row = [](const std::array<std::string, 8>& c) {
    return absl::StrFormat("%4s  %7s  %8s  %6s  %7s  %10s  %10s  %15s\n", c[0], c[1], c[2], c[3],
                           c[4], c[5], c[6], c[7]);
  };
  std::string text = absl::StrCat("\n", row(heading));
  for (const RankMemory& rank : found.ranks) {
    absl::StrAppend(
        &text,
        row({absl::StrCat(rank.shard.rank), absl::StrCat(rank.shard.q_heads.size()),
             absl::StrCat(rank.shard.kv_heads.size()), absl::StrCat(rank.shard.ffn.size()),
             absl::StrCat(rank.shard.vocab.size()), BytesText(rank.weight_bytes),
             BytesText(rank.kv_bytes_per_token), absl::StrCat(rank.longest_context_tokens)}));
  }
  const int longest = found.longest_context_tokens();
  absl::StrAppendFormat(
      &text,
      "\nWith %s for each rank, the longest context is %d tokens%s, if the worker\nhas "
      "--kv_cache_tokens %d. Activations and the program itself come on top of weights and KV "
      "cache.\n",
      BytesText(found.memory_bytes), longest,
      longest == found.spec->context_tokens ? ", the model's own limit" : "", longest);
  return text;
}

std::string TableOfGpus(const Inspection& found) {
  const std::array<std::string, 9> heading = {"GPU",       "Q HEADS",   "KV HEADS",
                                              "FFN",       "VOCAB",     "WEIGHTS",
                                              "EACH STEP", "CUDA+NCCL", "KV TOKENS"};
  const auto row = [](const std::array<std::string, 9>& c) {
    return absl::StrFormat("%4s  %7s  %8s  %6s  %7s  %10s  %10s  %10s  %10s\n", c[0], c[1], c[2],
                           c[3], c[4], c[5], c[6], c[7], c[8]);
  };
  std::string text = absl::StrCat("\n", row(heading));
  for (const RankMemory& rank : found.ranks) {
    absl::StrAppend(
        &text, row({absl::StrCat(rank.shard.rank), absl::StrCat(rank.shard.q_heads.size()),
                    absl::StrCat(rank.shard.kv_heads.size()), absl::StrCat(rank.shard.ffn.size()),
                    absl::StrCat(rank.shard.vocab.size()), BytesText(rank.weight_bytes),
                    BytesText(rank.step_bytes), BytesText(rank.reserved_bytes),
                    absl::StrCat(rank.kv_cache_tokens)}));
  }
  const GpuStepLimits limits;
  const int64_t tokens = found.kv_cache_tokens();
  absl::StrAppendFormat(&text,
                        "\nWith %s on each GPU, the KV cache of the group holds %d tokens. That "
                        "is room for\n",
                        BytesText(found.memory_bytes), tokens);
  for (const int length : kSequenceTokens) {
    if (length > found.spec->context_tokens) continue;
    absl::StrAppendFormat(&text, "%8d sequences of %d tokens\n", SequencesThatFit(tokens, length),
                          length);
  }
  const int longest = found.longest_context_tokens();
  absl::StrAppendFormat(
      &text,
      "\nThe longest context is %d tokens%s.\n\"Each step\" is for activations in bf16, "
      "--max_step_tokens %d and --max_seqs %d, which is how many\nsequences run at once. What CUDA "
      "and NCCL take is an estimate.\n",
      longest, longest == found.spec->context_tokens ? ", the model's own limit" : "",
      limits.max_step_tokens, limits.max_seqs);
  return text;
}

}  // namespace

std::string MemoryTable(const Inspection& found) {
  return found.device == InspectedDevice::kCuda ? TableOfGpus(found) : TableOfCpus(found);
}

}  // namespace phalanx
