#include "model/tokenizer_assets.h"

#include <algorithm>
#include <array>
#include <optional>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/status.h"

namespace phalanx {
namespace {

constexpr absl::string_view kTokensKey = "tokenizer.ggml.tokens";
constexpr absl::string_view kKindsKey = "tokenizer.ggml.token_type";
constexpr absl::string_view kMergesKey = "tokenizer.ggml.merges";
constexpr absl::string_view kTurnEnds[] = {"<|im_end|>", "<|end|>", "<|eot_id|>", "<|endoftext|>"};

absl::Status Inconsistent(const GgufFile& file, absl::string_view key, absl::string_view what) {
  return absl::DataLossError(absl::StrCat(file.path(), ": ", key, ": ", what));
}

absl::Status Unsupported(const GgufFile& file, absl::string_view key, absl::string_view value,
                         absl::string_view supported) {
  return absl::UnimplementedError(absl::StrCat(file.path(), ": ", key, " ", value,
                                               " is not supported; supported: ", supported));
}

// The file's value, or DATA_LOSS in place of NOT_FOUND.
template <typename T>
absl::StatusOr<T> Required(const GgufFile& file, absl::string_view key, absl::StatusOr<T> value) {
  if (absl::IsNotFound(value.status())) return Inconsistent(file, key, "missing");
  return value;
}

// GPT-2 spells the bytes of a token with printable characters: those of Latin-1 that are printable
// stand for themselves, the others are numbered from U+0100 on.
// Source: bytes_to_unicode in openai/gpt-2, src/encoder.py.
class ByteAlphabet {
 public:
  ByteAlphabet() {
    byte_of_.fill(-1);
    int next = 256;
    for (int byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
      byte_of_[printable ? byte : next++] = static_cast<int16_t>(byte);
    }
  }

  // Nothing if a character is not of the alphabet.
  std::optional<std::string> Decode(absl::string_view text) const {
    std::string bytes;
    for (size_t i = 0; i < text.size(); ++i) {
      unsigned code = static_cast<unsigned char>(text[i]);
      if ((code & 0xe0) == 0xc0 && i + 1 < text.size()) {
        code = (code & 0x1f) << 6 | (static_cast<unsigned char>(text[++i]) & 0x3f);
      } else if (code >= 0x80) {
        return std::nullopt;
      }
      if (code >= byte_of_.size() || byte_of_[code] < 0) return std::nullopt;
      bytes.push_back(static_cast<char>(byte_of_[code]));
    }
    return bytes;
  }

 private:
  // 68 bytes are not printable.
  std::array<int16_t, 256 + 68> byte_of_;
};

absl::Status CheckTokenizer(const GgufFile& file, PreTokenizer& pre_tokenizer) {
  const absl::string_view model_key = "tokenizer.ggml.model";
  ASSIGN_OR_RETURN(const absl::string_view model,
                   Required(file, model_key, file.GetString(model_key)));
  if (model != "gpt2") return Unsupported(file, model_key, model, "gpt2");
  const absl::string_view pre_key = "tokenizer.ggml.pre";
  ASSIGN_OR_RETURN(const absl::string_view pre, Required(file, pre_key, file.GetString(pre_key)));
  if (pre != "smollm") return Unsupported(file, pre_key, pre, "smollm");
  pre_tokenizer = PreTokenizer::kSmolLm;
  for (absl::string_view key :
       {"tokenizer.ggml.add_space_prefix", "tokenizer.ggml.add_eos_token"}) {
    if (!file.Has(key)) continue;
    ASSIGN_OR_RETURN(const bool set, file.GetBool(key));
    if (set) return Unsupported(file, key, "true", "false");
  }
  return absl::OkStatus();
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

// Spelling in the file to id, of normal tokens.
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

// -1 without the key.
absl::StatusOr<int32_t> ReadTokenId(const GgufFile& file, absl::string_view key, size_t vocab) {
  if (!file.Has(key)) return -1;
  ASSIGN_OR_RETURN(const int64_t id, file.GetInt(key));
  if (id < 0 || id >= static_cast<int64_t>(vocab)) {
    return Inconsistent(file, key, absl::StrCat(id, " is not one of ", vocab, " tokens"));
  }
  return static_cast<int32_t>(id);
}

absl::Status ReadSpecialIds(const GgufFile& file, TokenizerAssets& assets) {
  const size_t vocab = assets.token_bytes.size();
  ASSIGN_OR_RETURN(assets.bos_token_id, ReadTokenId(file, "tokenizer.ggml.bos_token_id", vocab));
  ASSIGN_OR_RETURN(assets.eos_token_id, ReadTokenId(file, "tokenizer.ggml.eos_token_id", vocab));
  ASSIGN_OR_RETURN(const int32_t eot, ReadTokenId(file, "tokenizer.ggml.eot_token_id", vocab));
  const absl::string_view add_bos_key = "tokenizer.ggml.add_bos_token";
  if (file.Has(add_bos_key)) {
    ASSIGN_OR_RETURN(assets.add_bos, file.GetBool(add_bos_key));
    if (assets.add_bos && assets.bos_token_id < 0) {
      return Inconsistent(file, add_bos_key, "true without tokenizer.ggml.bos_token_id");
    }
  }
  for (size_t id = 0; id < vocab; ++id) {
    const bool ends_turn = static_cast<int32_t>(id) == assets.eos_token_id ||
                           static_cast<int32_t>(id) == eot ||
                           (assets.token_kinds[id] == TokenKind::kControl &&
                            std::find(std::begin(kTurnEnds), std::end(kTurnEnds),
                                      assets.token_bytes[id]) != std::end(kTurnEnds));
    if (ends_turn) assets.eos_token_ids.push_back(static_cast<int32_t>(id));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TokenizerAssets> ReadTokenizerAssets(const GgufFile& file) {
  TokenizerAssets assets;
  RETURN_IF_ERROR(CheckTokenizer(file, assets.pre_tokenizer));
  Vocabulary vocabulary;
  RETURN_IF_ERROR(ReadTokens(file, assets, vocabulary));
  RETURN_IF_ERROR(ReadMerges(file, vocabulary, assets));
  RETURN_IF_ERROR(ReadSpecialIds(file, assets));
  if (file.Has("tokenizer.chat_template")) {
    ASSIGN_OR_RETURN(const absl::string_view source, file.GetString("tokenizer.chat_template"));
    assets.chat_template = std::string(source);
  }
  return assets;
}

}  // namespace phalanx
