#include "model/generation/generation_keys.h"

#include <algorithm>
#include <iterator>
#include <limits>

namespace phalanx {
namespace {

struct Key {
  absl::string_view name;
  GenerationKeyKind kind;
  // For keys that are not offered: the number that changes nothing. Without one, only null, false
  // and empty values change nothing.
  double neutral = std::numeric_limits<double>::quiet_NaN();
};

constexpr auto kFollowed = GenerationKeyKind::kFollowed;
constexpr auto kHarmless = GenerationKeyKind::kHarmless;
constexpr auto kNotOffered = GenerationKeyKind::kNotOffered;

// These are harmless: keys about how transformers computes and what it returns beside the tokens;
// keys that concern only beams, a draft model (whose tokens the model verifies) or an encoder; the
// ids of tokens that begin and pad; and keys that change logits only where they are broken.
constexpr Key kConfigKeys[] = {
    {"_commit_hash", kHarmless},
    {"_from_model_config", kHarmless},
    {"assistant_confidence_threshold", kHarmless},
    {"assistant_early_exit", kHarmless},
    {"assistant_lookbehind", kHarmless},
    {"bad_words_ids", kNotOffered},
    {"begin_suppress_tokens", kNotOffered},
    {"bos_token_id", kHarmless},
    {"cache_config", kHarmless},
    {"cache_implementation", kHarmless},
    {"compile_config", kHarmless},
    {"constraints", kNotOffered},
    {"continuous_batching_config", kHarmless},
    {"decoder_start_token_id", kHarmless},
    {"disable_compile", kHarmless},
    {"diversity_penalty", kNotOffered, 0},
    {"do_sample", kFollowed},
    {"dola_layers", kNotOffered},
    {"early_stopping", kHarmless},
    {"encoder_no_repeat_ngram_size", kNotOffered, 0},
    {"encoder_repetition_penalty", kNotOffered, 1},
    {"eos_token_id", kFollowed},
    {"epsilon_cutoff", kNotOffered, 0},
    {"eta_cutoff", kNotOffered, 0},
    {"exponential_decay_length_penalty", kNotOffered},
    {"force_words_ids", kNotOffered},
    {"forced_bos_token_id", kNotOffered},
    {"forced_decoder_ids", kNotOffered},
    {"forced_eos_token_id", kNotOffered},
    {"frequency_penalty", kFollowed},
    {"guidance_scale", kNotOffered, 1},
    {"is_assistant", kNotOffered},
    {"length_penalty", kHarmless},
    {"low_memory", kHarmless},
    {"max_cache_len", kHarmless},
    {"max_length", kFollowed},
    {"max_matching_ngram_size", kHarmless},
    {"max_new_tokens", kFollowed},
    {"max_time", kNotOffered},
    {"min_length", kNotOffered, 0},
    {"min_new_tokens", kNotOffered, 0},
    {"min_p", kFollowed},
    {"no_repeat_ngram_size", kNotOffered, 0},
    {"num_assistant_tokens", kHarmless},
    {"num_assistant_tokens_schedule", kHarmless},
    {"num_beam_groups", kNotOffered, 1},
    {"num_beams", kNotOffered, 1},
    {"num_return_sequences", kHarmless},
    {"output_attentions", kHarmless},
    {"output_hidden_states", kHarmless},
    {"output_logits", kHarmless},
    {"output_scores", kHarmless},
    {"pad_token_id", kHarmless},
    {"penalty_alpha", kNotOffered, 0},
    {"prefill_chunk_size", kHarmless},
    {"presence_penalty", kFollowed},
    {"prompt_lookup_num_tokens", kHarmless},
    {"remove_invalid_values", kHarmless},
    {"renormalize_logits", kHarmless},
    {"repetition_penalty", kFollowed},
    {"return_dict_in_generate", kHarmless},
    {"return_legacy_cache", kHarmless},
    {"sequence_bias", kNotOffered},
    {"stop_strings", kNotOffered},
    {"suppress_tokens", kNotOffered},
    {"target_lookbehind", kHarmless},
    {"temperature", kFollowed},
    {"token_healing", kNotOffered},
    {"top_h", kNotOffered},
    {"top_k", kFollowed},
    {"top_p", kFollowed},
    {"transformers_version", kHarmless},
    {"typical_p", kFollowed},
    {"use_cache", kHarmless},
    {"watermarking_config", kNotOffered},
};

// The parameters of a sampler are harmless, because another key, which is not, switches it on.
constexpr Key kGgufKeys[] = {
    {"min_p", kFollowed},
    {"mirostat", kNotOffered, 0},
    {"mirostat_eta", kHarmless},
    {"mirostat_tau", kHarmless},
    {"penalty_last_n", kHarmless},
    {"penalty_repeat", kFollowed},
    {"sequence", kNotOffered},
    {"temp", kFollowed},
    {"top_k", kFollowed},
    {"top_p", kFollowed},
    {"xtc_probability", kNotOffered, 0},
    {"xtc_threshold", kHarmless},
};

template <size_t kSize>
const Key* Find(const Key (&keys)[kSize], absl::string_view name) {
  const auto* const found = std::find_if(std::begin(keys), std::end(keys),
                                         [&](const Key& key) { return key.name == name; });
  return found == std::end(keys) ? nullptr : found;
}

}  // namespace

GenerationKeyKind GenerationConfigKeyKind(absl::string_view key) {
  const Key* const found = Find(kConfigKeys, key);
  return found == nullptr ? GenerationKeyKind::kUnknown : found->kind;
}

GenerationKeyKind GgufSamplingKeyKind(absl::string_view key) {
  const Key* const found = Find(kGgufKeys, key);
  return found == nullptr ? GenerationKeyKind::kUnknown : found->kind;
}

bool IsNeutralValue(absl::string_view key, double value) {
  const Key* found = Find(kConfigKeys, key);
  if (found == nullptr) found = Find(kGgufKeys, key);
  return found != nullptr && value == found->neutral;
}

}  // namespace phalanx
