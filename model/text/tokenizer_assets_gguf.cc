#include "model/text/tokenizer_assets_gguf.h"

#include <algorithm>
#include <array>
#include <optional>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/status.h"
#include "model/text/byte_alphabet.h"
#include "model/text/split_patterns.h"
#include "model/text/turn_ends.h"

namespace phalanx {
namespace {

constexpr absl::string_view kTokensKey = "tokenizer.ggml.tokens";
constexpr absl::string_view kKindsKey = "tokenizer.ggml.token_type";
constexpr absl::string_view kMergesKey = "tokenizer.ggml.merges";

absl::Status Inconsistent(const GgufFile& file, absl::string_view key, absl::string_view what) {
  return absl::DataLossError(absl::StrCat(file.path(), ": ", key, ": ", what));
}

absl::Status Unsupported(const GgufFile& file, absl::string_view key, absl::string_view value,
                         absl::string_view supported) {
  return absl::UnimplementedError(absl::StrCat(file.path(), ": ", key, " ", value,
                                               " is not supported; supported: ", supported));
}

// The value of a key that must be there: DATA_LOSS in place of NOT_FOUND.
template <typename T>
absl::StatusOr<T> Required(const GgufFile& file, absl::string_view key, absl::StatusOr<T> value) {
  if (absl::IsNotFound(value.status())) return Inconsistent(file, key, "missing");
  return value;
}

// tokenizer.ggml.pre is a name for the rules of the tokenizer.json that was converted. Sources: the
// names are llama.cpp's, src/llama-vocab.cpp; the rules are those of the models' own files.
struct NamedRules {
  absl::string_view name;
  std::array<const char*, 2> patterns;
  bool normalizes_to_nfc = false;
  bool ignore_merges = false;
  bool add_bos = false;  // Unless the file says otherwise.
};

constexpr NamedRules kNamedRules[] = {
    {"gpt-2", {kGpt2Pattern}},
    {"phi-2", {kGpt2Pattern}},
    {"smollm", {kDigitPattern, kGpt2Pattern}},
    {"llama-bpe", {kLlama3Pattern}, false, true, true},
    {"llama3", {kLlama3Pattern}, false, true, true},
    {"llama-v3", {kLlama3Pattern}, false, true, true},
    {"qwen2", {kQwen2Pattern}, true},
    {"deepseek-r1-qwen", {kQwen2Pattern}, true},
    {"gpt-4o", {kO200kPattern}},
    {"llama4", {kO200kPattern}},
};

absl::Status ReadPreTokenizer(const GgufFile& file, TokenizerAssets& assets) {
  const absl::string_view key = "tokenizer.ggml.pre";
  ASSIGN_OR_RETURN(const absl::string_view name, Required(file, key, file.GetString(key)));
  std::string names;
  for (const NamedRules& rules : kNamedRules) {
    absl::StrAppend(&names, names.empty() ? "" : ", ", rules.name);
    if (rules.name != name) continue;
    for (const char* const pattern : rules.patterns) {
      if (pattern != nullptr) assets.split_rules.push_back({pattern});
    }
    assets.normalizes_to_nfc = rules.normalizes_to_nfc;
    assets.ignore_merges = rules.ignore_merges;
    assets.add_bos = rules.add_bos;
    return absl::OkStatus();
  }
  return Unsupported(file, key, name, names);
}

// All keys that converters write for a byte-level BPE tokenizer. Other keys of tokenizer.ggml are
// refused. Source of the names: llama.cpp, gguf-py/gguf/constants.py.
constexpr absl::string_view kKnownKeys[] = {
    "tokenizer.ggml.model",
    "tokenizer.ggml.pre",
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.token_type",
    "tokenizer.ggml.merges",
    "tokenizer.ggml.bos_token_id",
    "tokenizer.ggml.eos_token_id",
    "tokenizer.ggml.eot_token_id",
    "tokenizer.ggml.eom_token_id",
    "tokenizer.ggml.add_bos_token",
    // For other kinds of tokenizers.
    "tokenizer.ggml.scores",
    "tokenizer.ggml.token_type_count",
    // Roles that mean nothing for text by itself. The models' own files do not let the tokens for
    // fill-in-the-middle end a chat.
    "tokenizer.ggml.unknown_token_id",
    "tokenizer.ggml.padding_token_id",
    "tokenizer.ggml.seperator_token_id",
    "tokenizer.ggml.cls_token_id",
    "tokenizer.ggml.mask_token_id",
    "tokenizer.ggml.prefix_token_id",
    "tokenizer.ggml.suffix_token_id",
    "tokenizer.ggml.middle_token_id",
    "tokenizer.ggml.fim_pre_token_id",
    "tokenizer.ggml.fim_suf_token_id",
    "tokenizer.ggml.fim_mid_token_id",
    "tokenizer.ggml.fim_pad_token_id",
    "tokenizer.ggml.fim_rep_token_id",
    "tokenizer.ggml.fim_sep_token_id",
};

// Accepted only if they are false.
constexpr absl::string_view kSwitches[] = {
    "tokenizer.ggml.add_eos_token",        "tokenizer.ggml.add_sep_token",
    "tokenizer.ggml.add_space_prefix",     "tokenizer.ggml.remove_extra_whitespaces",
    "tokenizer.ggml.normalizer.lowercase",
};

// Tokens that may never be drawn, so their list must be empty.
constexpr absl::string_view kSuppressKey = "tokenizer.ggml.suppress_tokens";

absl::Status RefuseUnknownKeys(const GgufFile& file) {
  for (const absl::string_view key : kSwitches) {
    if (!file.Has(key)) continue;
    ASSIGN_OR_RETURN(const bool set, file.GetBool(key));
    if (set) return Unsupported(file, key, "true", "false");
  }
  if (file.Has(kSuppressKey)) {
    ASSIGN_OR_RETURN(const absl::Span<const int64_t> ids, file.GetInts(kSuppressKey));
    if (!ids.empty()) {
      return Unsupported(file, kSuppressKey, absl::StrCat("of ", ids.size(), " tokens"), "none");
    }
  }
  const auto is_in = [](absl::string_view key, absl::Span<const absl::string_view> keys) {
    return std::find(keys.begin(), keys.end(), key) != keys.end();
  };
  for (const absl::string_view key : file.Keys()) {
    if (!absl::StartsWith(key, "tokenizer.ggml.") || key == kSuppressKey) continue;
    if (is_in(key, kKnownKeys) || is_in(key, kSwitches)) continue;
    return absl::UnimplementedError(
        absl::StrCat(file.path(), ": ", absl::CHexEscape(key.substr(0, 80)),
                     " is not supported; it may change tokens or where answers end"));
  }
  return absl::OkStatus();
}

absl::Status CheckTokenizer(const GgufFile& file, TokenizerAssets& assets) {
  const absl::string_view model_key = "tokenizer.ggml.model";
  ASSIGN_OR_RETURN(const absl::string_view model,
                   Required(file, model_key, file.GetString(model_key)));
  if (model != "gpt2") return Unsupported(file, model_key, model, "gpt2");
  RETURN_IF_ERROR(ReadPreTokenizer(file, assets));
  return RefuseUnknownKeys(file);
}

absl::StatusOr<TokenKind> KindOf(const GgufFile& file, int64_t type, size_t id) {
  switch (type) {  // Numbers: llama.cpp, enum llama_token_type.
    case 1:
      return TokenKind::kNormal;
    case 3:
      return TokenKind::kControl;
    case 4:
      return TokenKind::kUserDefined;
    case 5:
      return TokenKind::kUnused;
    case 2:  // Unknown.
    case 6:  // Byte.
      return Unsupported(file, absl::StrCat(kKindsKey, "[", id, "]"), absl::StrCat(type),
                         "1, 3, 4, 5");
    default:
      return Inconsistent(file, absl::StrCat(kKindsKey, "[", id, "]"),
                          absl::StrCat(type, " is no type"));
  }
}

// Ids of normal tokens by their spelling in the file.
using Vocabulary = absl::flat_hash_map<absl::string_view, int32_t>;

absl::Status ReadTokens(const GgufFile& file, TokenizerAssets& assets, Vocabulary& vocabulary) {
  ASSIGN_OR_RETURN(const absl::Span<const absl::string_view> tokens,
                   Required(file, kTokensKey, file.GetStrings(kTokensKey)));
  ASSIGN_OR_RETURN(const absl::Span<const int64_t> types,
                   Required(file, kKindsKey, file.GetInts(kKindsKey)));
  if (tokens.empty()) return Inconsistent(file, kTokensKey, "no tokens");
  if (types.size() != tokens.size()) {
    return Inconsistent(file, kKindsKey,
                        absl::StrCat(types.size(), " types of ", tokens.size(), " tokens"));
  }
  const ByteAlphabet alphabet;
  absl::flat_hash_set<absl::string_view> added;
  for (size_t id = 0; id < tokens.size(); ++id) {
    const absl::string_view spelling = tokens[id];
    const auto refuse = [&](absl::string_view what) {
      return Inconsistent(
          file, absl::StrCat(kTokensKey, "[", id, "]"),
          absl::StrCat("\"", absl::CHexEscape(spelling.substr(0, 80)), "\" ", what));
    };
    ASSIGN_OR_RETURN(const TokenKind kind, KindOf(file, types[id], id));
    std::string bytes(spelling);
    // Only normal tokens are spelled in the byte-level alphabet, so an added token may be spelled
    // like one of them.
    if (kind == TokenKind::kNormal) {
      std::optional<std::string> decoded = alphabet.Decode(spelling);
      if (!decoded) return refuse("is not of the byte-level alphabet");
      bytes = *std::move(decoded);
      if (!vocabulary.emplace(spelling, static_cast<int32_t>(id)).second) {
        return refuse("is there twice");
      }
    } else if (kind != TokenKind::kUnused && !added.insert(spelling).second) {
      return refuse("is there twice");
    }
    if (bytes.empty() && kind != TokenKind::kUnused) return refuse("is empty");
    assets.token_bytes.push_back(std::move(bytes));
    assets.token_kinds.push_back(kind);
  }
  return absl::OkStatus();
}

absl::Status ReadMerges(const GgufFile& file, const Vocabulary& vocabulary,
                        TokenizerAssets& assets) {
  ASSIGN_OR_RETURN(const absl::Span<const absl::string_view> merges,
                   Required(file, kMergesKey, file.GetStrings(kMergesKey)));
  assets.merges.reserve(merges.size());
  std::string merged;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const absl::string_view merge = merges[rank];
    const size_t space = merge.find(' ');
    const auto left = vocabulary.find(merge.substr(0, space));
    const auto right = vocabulary.find(space == absl::string_view::npos ? absl::string_view()
                                                                        : merge.substr(space + 1));
    bool known = left != vocabulary.end() && right != vocabulary.end();
    if (known) {
      merged = absl::StrCat(left->first, right->first);
      known = vocabulary.contains(merged);
    }
    if (!known) {
      return Inconsistent(file, absl::StrCat(kMergesKey, "[", rank, "]"),
                          absl::StrCat("\"", absl::CHexEscape(merge.substr(0, 80)),
                                       "\" is not a pair of tokens that make a third"));
    }
    assets.merges.emplace_back(left->second, right->second);
  }
  return absl::OkStatus();
}

// The id under a key; -1 if the key is not there.
absl::StatusOr<int32_t> ReadTokenId(const GgufFile& file, absl::string_view key, size_t vocab) {
  if (!file.Has(key)) return -1;
  ASSIGN_OR_RETURN(const int64_t id, file.GetInt(key));
  if (id < 0 || id >= static_cast<int64_t>(vocab)) {
    return Inconsistent(file, key, absl::StrCat(id, " is not one of ", vocab, " tokens"));
  }
  return static_cast<int32_t>(id);
}

// Collects spellings under the names that templates know. An id that is not a token's counts as
// none: there are files with such padding ids.
void ReadTemplateTokens(const GgufFile& file, TokenizerAssets& assets) {
  constexpr std::pair<absl::string_view, absl::string_view> kTokens[] = {
      {"bos_token", "bos"},       {"eos_token", "eos"},       {"unk_token", "unknown"},
      {"sep_token", "seperator"}, {"sep_token", "separator"}, {"pad_token", "padding"},
      {"cls_token", "cls"},       {"mask_token", "mask"}};
  for (const auto& [name, role] : kTokens) {
    const absl::StatusOr<int32_t> id = ReadTokenId(
        file, absl::StrCat("tokenizer.ggml.", role, "_token_id"), assets.token_bytes.size());
    if (id.ok() && *id >= 0) assets.template_tokens[std::string(name)] = assets.token_bytes[*id];
  }
}

absl::Status ReadSpecialIds(const GgufFile& file, TokenizerAssets& assets) {
  const size_t vocab = assets.token_bytes.size();
  ASSIGN_OR_RETURN(assets.bos_token_id, ReadTokenId(file, "tokenizer.ggml.bos_token_id", vocab));
  ASSIGN_OR_RETURN(assets.eos_token_id, ReadTokenId(file, "tokenizer.ggml.eos_token_id", vocab));
  ASSIGN_OR_RETURN(const int32_t eot, ReadTokenId(file, "tokenizer.ggml.eot_token_id", vocab));
  ASSIGN_OR_RETURN(const int32_t eom, ReadTokenId(file, "tokenizer.ggml.eom_token_id", vocab));
  const absl::string_view add_bos_key = "tokenizer.ggml.add_bos_token";
  if (file.Has(add_bos_key)) {
    ASSIGN_OR_RETURN(assets.add_bos, file.GetBool(add_bos_key));
    if (assets.add_bos && assets.bos_token_id < 0) {
      return Inconsistent(file, add_bos_key, "true without tokenizer.ggml.bos_token_id");
    }
  }
  // The rules of tokenizer.ggml.pre may want a bos that the file does not name.
  assets.add_bos = assets.add_bos && assets.bos_token_id >= 0;
  assets.eos_token_ids = TurnEnds(assets, {assets.eos_token_id, eot, eom});
  return absl::OkStatus();
}

absl::Status ReadChatTemplates(const GgufFile& file, TokenizerAssets& assets) {
  const absl::string_view key = "tokenizer.chat_template";
  if (file.Has(key)) {
    ASSIGN_OR_RETURN(const absl::string_view source, file.GetString(key));
    assets.chat_template = std::string(source);
  }
  const absl::string_view names_key = "tokenizer.chat_templates";
  if (!file.Has(names_key)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const absl::Span<const absl::string_view> names, file.GetStrings(names_key));
  for (const absl::string_view name : names) {
    const std::string named_key = absl::StrCat(key, ".", name);
    ASSIGN_OR_RETURN(const absl::string_view source,
                     Required(file, named_key, file.GetString(named_key)));
    assets.named_chat_templates[std::string(name)] = std::string(source);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TokenizerAssets> ReadTokenizerAssets(const GgufFile& file) {
  TokenizerAssets assets;
  RETURN_IF_ERROR(CheckTokenizer(file, assets));
  Vocabulary vocabulary;
  RETURN_IF_ERROR(ReadTokens(file, assets, vocabulary));
  RETURN_IF_ERROR(ReadMerges(file, vocabulary, assets));
  RETURN_IF_ERROR(ReadSpecialIds(file, assets));
  ReadTemplateTokens(file, assets);
  RETURN_IF_ERROR(ReadChatTemplates(file, assets));
  return assets;
}

}  // namespace phalanx
