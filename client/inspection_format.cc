#include "client/inspection_format.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/bytes_text.h"
#include "base/number_text.h"
#include "client/json_line.h"
#include "client/memory_table.h"
#include "model/generation/sampling.h"
#include "model/sharding/gpu_memory.h"
#include "model/text/split_patterns.h"

namespace phalanx {
namespace {

// At most so many refusals are shown to people. With --json all are printed.
constexpr size_t kMaxRefusedLines = 10;

int CountOf(const TokenizerAssets& tokenizer, TokenKind kind) {
  return static_cast<int>(
      std::count(tokenizer.token_kinds.begin(), tokenizer.token_kinds.end(), kind));
}

std::string SpellingOf(const TokenizerAssets& tokenizer, int32_t id) {
  const auto index = static_cast<size_t>(id);
  return index < tokenizer.token_bytes.size() ? tokenizer.token_bytes[index] : "";
}

std::vector<std::string> SplitRuleNames(const TokenizerAssets& tokenizer) {
  std::vector<std::string> names;
  for (const SplitRule& rule : tokenizer.split_rules) names.push_back(SplitRuleName(rule.pattern));
  return names;
}

// --- JSON ---

Json TokenJson(const TokenizerAssets& tokenizer, int32_t id) {
  if (id < 0) return nullptr;
  return {{"id", id}, {"text", SpellingOf(tokenizer, id)}};
}

Json NetworkJson(const ModelSpec& spec) {
  return {{"layers", spec.num_layers},
          {"hidden", spec.hidden},
          {"ffn", spec.ffn},
          {"query_heads", spec.num_q_heads},
          {"kv_heads", spec.num_kv_heads},
          {"head_dim", spec.head_dim},
          {"rotary_dim", spec.rotary_dim},
          {"rope_theta", JsonNumber(spec.rope.theta)},
          {"rope_lists", spec.rope.num_lists()},
          {"rope_scaled", !spec.rope.factors.empty()},
          {"rope_attention_factor", JsonNumber(spec.rope.attention_factor)},
          {"original_context_tokens", spec.rope.original_context_tokens},
          {"context_tokens", spec.context_tokens},
          {"vocab_size", spec.vocab},
          {"rms_norm_eps", JsonNumber(spec.rms_norm_eps)},
          {"tied_embeddings", spec.tied_embeddings},
          {"qkv_bias", spec.qkv_bias}};
}

Json TokenizerJson(const TokenizerAssets& tokenizer) {
  Json patterns = Json::array();
  for (const SplitRule& rule : tokenizer.split_rules) patterns.push_back(rule.pattern);
  Json ends = Json::array();
  for (const int32_t id : tokenizer.eos_token_ids) ends.push_back(TokenJson(tokenizer, id));
  return {{"kind", "byte_level_bpe"},
          {"tokens", tokenizer.token_bytes.size()},
          {"normal_tokens", CountOf(tokenizer, TokenKind::kNormal)},
          {"control_tokens", CountOf(tokenizer, TokenKind::kControl)},
          {"user_defined_tokens", CountOf(tokenizer, TokenKind::kUserDefined)},
          {"unused_tokens", CountOf(tokenizer, TokenKind::kUnused)},
          {"merges", tokenizer.merges.size()},
          {"split_rules", SplitRuleNames(tokenizer)},
          {"split_patterns", patterns},
          {"normalizer", tokenizer.normalizes_to_nfc ? Json("nfc") : Json(nullptr)},
          {"ignore_merges", tokenizer.ignore_merges},
          {"add_bos", tokenizer.add_bos},
          {"bos", TokenJson(tokenizer, tokenizer.bos_token_id)},
          {"eos", TokenJson(tokenizer, tokenizer.eos_token_id)},
          {"turn_ends", ends}};
}

Json TemplateJson(const TokenizerAssets& tokenizer) {
  Json named = Json::object();
  for (const auto& [name, source] : tokenizer.named_chat_templates) named[name] = source.size();
  return {{"bytes", tokenizer.chat_template.size()}, {"named", named}};
}

Json SamplingJson(const Sampling& sampling) {
  Json json = Json::object();
  VisitSampling(sampling, [&](const SamplingParameter& parameter, auto value) {
    if constexpr (std::is_same_v<decltype(value), float>) {
      json[std::string(parameter.name)] = JsonNumber(value);
    } else {
      json[std::string(parameter.name)] = value;
    }
  });
  return json;
}

Json RankJson(const RankMemory& rank, InspectedDevice device) {
  Json json = {{"rank", rank.shard.rank},
               {"query_heads", rank.shard.q_heads.size()},
               {"kv_heads", rank.shard.kv_heads.size()},
               {"ffn_columns", rank.shard.ffn.size()},
               {"vocab_rows", rank.shard.vocab.size()},
               {"weight_bytes", rank.weight_bytes},
               {"kv_bytes_per_token", rank.kv_bytes_per_token},
               {"longest_context_tokens", rank.longest_context_tokens}};
  if (device == InspectedDevice::kCuda) {
    json["step_bytes"] = rank.step_bytes;
    json["reserved_bytes"] = rank.reserved_bytes;
    json["kv_cache_tokens"] = rank.kv_cache_tokens;
  }
  return json;
}

// How many sequences fit, by their tokens.
Json SequencesJson(const Inspection& found) {
  Json json = Json::object();
  for (const int tokens : kSequenceTokens) {
    if (tokens > found.spec->context_tokens) continue;
    json[absl::StrCat(tokens)] = SequencesThatFit(found.kv_cache_tokens(), tokens);
  }
  return json;
}

// --- For people ---

class Lines {
 public:
  void Add(absl::string_view label, absl::string_view text) {
    absl::StrAppendFormat(&text_, "%-13s %s\n", label, text);
  }
  void AddRaw(absl::string_view text) { text_.append(text.data(), text.size()); }
  std::string Take() { return std::move(text_); }

 private:
  std::string text_;
};

// Text out of a file may hold escape sequences, which a terminal would follow.
std::string Printable(absl::string_view text) { return absl::Utf8SafeCHexEscape(text); }

std::string TokenText(const TokenizerAssets& tokenizer, int32_t id) {
  return absl::StrCat(id, " ", Printable(SpellingOf(tokenizer, id)));
}

// "134.5 million"
std::string CountText(int64_t count) {
  const double value = static_cast<double>(count);
  if (value >= 1e9) return absl::StrFormat("%.2f billion", value / 1e9);
  if (value >= 1e6) return absl::StrFormat("%.1f million", value / 1e6);
  return absl::StrCat(count);
}

std::string RotaryText(const ModelSpec& spec) {
  std::string text = absl::StrFormat("rotary on %d of %d dims, theta %.10g", spec.rotary_dim,
                                     spec.head_dim, spec.rope.theta);
  if (spec.rope.num_lists() == 2) {
    absl::StrAppendFormat(&text, ", LongRoPE beyond %d tokens, attention factor %.4g",
                          spec.rope.original_context_tokens, spec.rope.attention_factor);
  } else if (!spec.rope.factors.empty()) {
    absl::StrAppend(&text, ", scaled by a factor for each frequency");
  }
  return text;
}

void AddNetwork(const ModelSpec& spec, Lines* lines) {
  lines->Add("network", absl::StrFormat("%d layers, hidden %d, FFN %d", spec.num_layers,
                                        spec.hidden, spec.ffn));
  lines->Add("attention", absl::StrFormat("%d query heads on %d KV heads of %d%s", spec.num_q_heads,
                                          spec.num_kv_heads, spec.head_dim,
                                          spec.qkv_bias ? ", biases on query, key and value" : ""));
  lines->Add("positions", RotaryText(spec));
  lines->Add("context", absl::StrCat(spec.context_tokens, " tokens"));
  lines->Add("vocabulary",
             absl::StrCat(spec.vocab, " rows, ",
                          spec.tied_embeddings ? "the embedding is the output matrix too"
                                               : "an output matrix of its own"));
}

void AddTensors(const Inspection& found, Lines* lines) {
  const std::string types =
      absl::StrJoin(found.tensors_of_type, ", ", [](std::string* out, const auto& type) {
        absl::StrAppend(out, type.second, " ", type.first);
      });
  lines->Add("parameters", CountText(found.parameters));
  lines->Add("tensors", absl::StrCat(found.num_tensors, " of ", BytesText(found.tensor_bytes),
                                     " in all: ", types));
}

void AddTokenizer(const TokenizerAssets& tokenizer, Lines* lines) {
  const std::pair<TokenKind, absl::string_view> kinds[] = {{TokenKind::kControl, "control"},
                                                           {TokenKind::kUserDefined, "added"},
                                                           {TokenKind::kUnused, "unused"}};
  std::string tokens = absl::StrCat(tokenizer.token_bytes.size(), " tokens");
  absl::string_view before = ", of these ";
  for (const auto& [kind, name] : kinds) {
    const int count = CountOf(tokenizer, kind);
    if (count == 0) continue;
    absl::StrAppend(&tokens, before, count, " ", name);
    before = ", ";
  }
  lines->Add("tokenizer",
             absl::StrCat("byte-level BPE, ", tokens, "; ", tokenizer.merges.size(), " merges"));
  lines->Add("splitting",
             absl::StrCat(Printable(absl::StrJoin(SplitRuleNames(tokenizer), ", then ")),
                          tokenizer.normalizes_to_nfc ? ", after normalizing to NFC" : "",
                          tokenizer.ignore_merges ? "; whole tokens before merges" : ""));
  lines->Add("begin", tokenizer.bos_token_id < 0
                          ? "no token"
                          : absl::StrCat(TokenText(tokenizer, tokenizer.bos_token_id),
                                         tokenizer.add_bos ? ", before text that is no chat"
                                                           : ", only where the template puts it"));
  lines->Add("ends of turn",
             tokenizer.eos_token_ids.empty()
                 ? "none: answers end at their length"
                 : absl::StrJoin(tokenizer.eos_token_ids, ", ", [&](std::string* out, int32_t id) {
                     out->append(TokenText(tokenizer, id));
                   }));
  std::string chat_template =
      tokenizer.chat_template.empty()
          ? "none: only text that is no chat can be sent"
          : absl::StrCat(tokenizer.chat_template.size(), " bytes, not tried out here");
  for (const auto& [name, source] : tokenizer.named_chat_templates) {
    absl::StrAppend(&chat_template, ", ", Printable(name), " (", source.size(), " bytes)");
  }
  lines->Add("template", chat_template);
}

void AddDefaults(const GenerationDefaults& defaults, Lines* lines) {
  std::vector<std::string> sampling;
  VisitSampling(defaults.sampling, [&](const SamplingParameter& parameter, auto value) {
    const bool has_meaning = value == 0 && !parameter.zero_means.empty();
    sampling.push_back(
        absl::StrCat(parameter.name, " ", Readable(value),
                     has_meaning ? absl::StrCat(" (", parameter.zero_means, ")") : ""));
  });
  lines->Add("sampling", absl::StrJoin(sampling, ", "));
  if (defaults.max_new_tokens > 0) {
    lines->Add("answers", absl::StrCat("at most ", defaults.max_new_tokens, " tokens by default"));
  } else if (defaults.max_length > 0) {
    lines->Add("answers", absl::StrCat("with their prompt at most ", defaults.max_length,
                                       " tokens by default"));
  }
  const auto add = [](std::string* out, const UnfollowedDefault& unfollowed) {
    absl::StrAppend(out, unfollowed.key, ": ", unfollowed.value);
  };
  if (!defaults.unfollowed.empty()) {
    lines->Add("not followed", Printable(absl::StrJoin(defaults.unfollowed, ", ", add)));
  }
}

void AddMemory(const Inspection& found, Lines* lines) {
  lines->Add("KV cache",
             absl::StrCat(BytesText(found.kv_bytes_per_token), " a token in all ranks together, ",
                          KvTypeName(found.kv_type)));
  if (!found.ranks.empty()) lines->AddRaw(MemoryTable(found));
}

void AddRefused(const std::vector<std::string>& refused, Lines* lines) {
  if (refused.empty()) return lines->AddRaw("\nNothing would be refused.\n");
  lines->AddRaw("\nWould be refused:\n");
  for (size_t i = 0; i < std::min(refused.size(), kMaxRefusedLines); ++i) {
    lines->AddRaw(absl::StrCat("  ", refused[i], "\n"));
  }
  if (refused.size() > kMaxRefusedLines) {
    lines->AddRaw(absl::StrCat("  and ", refused.size() - kMaxRefusedLines, " more: see --json\n"));
  }
}

}  // namespace

absl::string_view InspectJsonHelp() {
  return "With --json, one object: path, format (gguf or huggingface), name, architecture,\n"
         "fingerprint, parameters, tensors {count, bytes, types}, network, tokenizer,\n"
         "chat_template {bytes, named}, default_sampling,\n"
         "unfollowed_defaults {key: value}, default_max_new_tokens, default_max_length,\n"
         "device (cpu or cuda), tp, memory_bytes_per_rank, kv_cache_dtype,\n"
         "kv_bytes_per_token,\n"
         "ranks [{rank, query_heads, kv_heads, ffn_columns, vocab_rows, weight_bytes,\n"
         "kv_bytes_per_token, longest_context_tokens; on GPUs also step_bytes,\n"
         "reserved_bytes, kv_cache_tokens}], longest_context_tokens, kv_cache_tokens and\n"
         "sequences_that_fit {tokens of each: how many} on GPUs, refused [reasons].\n"
         "What could not be read is null.";
}

std::string SplitRuleName(absl::string_view pattern) {
  constexpr std::pair<absl::string_view, absl::string_view> kNames[] = {
      {kGpt2Pattern, "GPT-2"},
      {kDigitPattern, "single digits"},
      {kDigitsPattern, "runs of digits"},
      {kLlama3Pattern, "Llama 3"},
      {kQwen2Pattern, "Qwen2"},
      {kO200kPattern, "o200k"},
  };
  for (const auto& [known, name] : kNames) {
    if (pattern == known) return std::string(name);
  }
  return std::string(pattern);
}

std::string InspectionJson(const Inspection& found) {
  // All keys are here, so that each is printed, and in this order, even if nothing is known.
  Json json = {{"path", found.path},
               {"format", found.is_gguf ? "gguf" : "huggingface"},
               {"name", nullptr},
               {"architecture", nullptr},
               {"fingerprint", nullptr},
               {"parameters", found.parameters},
               {"tensors",
                {{"count", found.num_tensors},
                 {"bytes", found.tensor_bytes},
                 {"types", Json(found.tensors_of_type)}}},
               {"network", nullptr},
               {"tokenizer", nullptr},
               {"chat_template", nullptr},
               {"default_sampling", nullptr},
               {"unfollowed_defaults", nullptr},
               {"default_max_new_tokens", nullptr},
               {"default_max_length", nullptr},
               {"device", found.device == InspectedDevice::kCuda ? "cuda" : "cpu"},
               {"tp", found.world},
               {"memory_bytes_per_rank", found.memory_bytes},
               {"kv_cache_dtype", KvTypeName(found.kv_type)},
               {"kv_bytes_per_token", nullptr},
               {"ranks", nullptr},
               {"longest_context_tokens", nullptr},
               {"kv_cache_tokens", nullptr},
               {"sequences_that_fit", nullptr},
               {"refused", found.refused}};
  if (!found.architecture.empty()) json["architecture"] = found.architecture;
  if (found.spec) {
    json["name"] = found.spec->name;
    json["fingerprint"] = found.fingerprint;
    json["network"] = NetworkJson(*found.spec);
    json["kv_bytes_per_token"] = found.kv_bytes_per_token;
  }
  if (found.tokenizer) {
    json["tokenizer"] = TokenizerJson(*found.tokenizer);
    json["chat_template"] = TemplateJson(*found.tokenizer);
  }
  if (found.defaults) {
    json["default_sampling"] = SamplingJson(found.defaults->sampling);
    json["unfollowed_defaults"] = Json::object();
    for (const UnfollowedDefault& unfollowed : found.defaults->unfollowed) {
      json["unfollowed_defaults"][unfollowed.key] = unfollowed.value;
    }
    if (found.defaults->max_new_tokens > 0) {
      json["default_max_new_tokens"] = found.defaults->max_new_tokens;
    }
    if (found.defaults->max_length > 0) json["default_max_length"] = found.defaults->max_length;
  }
  if (!found.ranks.empty()) {
    json["ranks"] = Json::array();
    for (const RankMemory& rank : found.ranks)
      json["ranks"].push_back(RankJson(rank, found.device));
    json["longest_context_tokens"] = found.longest_context_tokens();
    if (found.device == InspectedDevice::kCuda) {
      json["kv_cache_tokens"] = found.kv_cache_tokens();
      json["sequences_that_fit"] = SequencesJson(found);
    }
  }
  return JsonLine(json);
}

std::string InspectionText(const Inspection& found) {
  Lines lines;
  if (found.spec) lines.Add("model", Printable(found.spec->name));
  lines.Add(found.is_gguf ? "GGUF file" : "folder", found.path);
  if (found.spec) lines.Add("fingerprint", found.fingerprint);
  if (!found.architecture.empty()) lines.Add("architecture", Printable(found.architecture));
  if (found.spec) AddNetwork(*found.spec, &lines);
  if (found.num_tensors > 0) AddTensors(found, &lines);
  if (found.tokenizer) AddTokenizer(*found.tokenizer, &lines);
  if (found.defaults) AddDefaults(*found.defaults, &lines);
  if (found.spec) AddMemory(found, &lines);
  AddRefused(found.refused, &lines);
  return lines.Take();
}

}  // namespace phalanx
