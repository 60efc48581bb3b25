#include "model/text/tokenizer_json.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "model/files/config_reader.h"
#include "model/text/byte_alphabet.h"
#include "model/text/tokenizer_steps.h"

namespace phalanx {
namespace {

std::string Quoted(absl::string_view text) {
  return absl::StrCat("\"", absl::CHexEscape(text.substr(0, 80)), "\"");
}

// The two sides of a merge, which is "a b" in old files and ["a", "b"] in new ones.
std::optional<std::pair<absl::string_view, absl::string_view>> SplitMerge(const JsonValue& merge) {
  if (const std::string* const text = merge.AsString()) {
    const size_t space = text->find(' ');
    if (space == std::string::npos) return std::nullopt;
    const absl::string_view view(*text);
    return std::make_pair(view.substr(0, space), view.substr(space + 1));
  }
  if (merge.elements().size() != 2) return std::nullopt;
  const std::string* const left = merge.elements()[0].AsString();
  const std::string* const right = merge.elements()[1].AsString();
  if (left == nullptr || right == nullptr) return std::nullopt;
  return std::make_pair(absl::string_view(*left), absl::string_view(*right));
}

class TokenizerJsonReader {
 public:
  TokenizerJsonReader(const JsonValue& json, absl::string_view path, int vocab)
      : vocab_rows_(vocab), path_(path), file_(json, path) {}

  absl::StatusOr<TokenizerAssets> Read();

 private:
  absl::Status CheckModel(ConfigReader& model);
  absl::Status ReadVocabulary(ConfigReader& model);
  absl::Status ReadMerges(ConfigReader& model);
  absl::Status ReadAddedTokens();
  absl::Status ReadAddedToken(const JsonValue& token, const std::string& key);
  absl::Status AddFirstToken();
  absl::Status CheckUnknownToken(ConfigReader& model);

  // The id in `value`; nothing if it is not that of a row that the table may have.
  std::optional<int32_t> IdOf(const JsonValue& value) const;
  // The id of a token that merges may use or make; nothing if there is none.
  std::optional<int32_t> NormalToken(absl::string_view spelling) const;
  // Makes room for token `id`.
  void GrowTo(int32_t id);

  const int vocab_rows_;
  const std::string path_;
  ConfigReader file_;
  // Ids by their spelling in the file. The file's values own the spellings.
  absl::flat_hash_map<absl::string_view, int32_t> vocabulary_;
  absl::flat_hash_set<absl::string_view> added_;
  // The largest id that is accepted. Ids may leave out rows, but a few tokens with huge ids must
  // not make a table that is mostly holes.
  int64_t max_id_ = 0;
  TokenizerAssets assets_;
};

std::optional<int32_t> TokenizerJsonReader::IdOf(const JsonValue& value) const {
  const std::optional<int64_t> id = value.AsInt();
  if (!id || *id < 0 || *id > max_id_) return std::nullopt;
  return static_cast<int32_t>(*id);
}

std::optional<int32_t> TokenizerJsonReader::NormalToken(absl::string_view spelling) const {
  const auto it = vocabulary_.find(spelling);
  if (it == vocabulary_.end() || assets_.token_kinds[it->second] != TokenKind::kNormal) {
    return std::nullopt;
  }
  return it->second;
}

void TokenizerJsonReader::GrowTo(int32_t id) {
  if (static_cast<size_t>(id) < assets_.token_bytes.size()) return;
  assets_.token_bytes.resize(id + 1);
  assets_.token_kinds.resize(id + 1, TokenKind::kUnused);
}

absl::Status TokenizerJsonReader::CheckModel(ConfigReader& model) {
  ASSIGN_OR_RETURN(const std::string type, model.StringOr("type", ""));
  if (type != "BPE") {
    return model.Unsupported("type", Quoted(type), " is not supported; BPE is");
  }
  ASSIGN_OR_RETURN(assets_.ignore_merges, model.BoolOr("ignore_merges", false));
  for (const char* const key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    ASSIGN_OR_RETURN(const std::string affix, model.StringOr(key, ""));
    if (!affix.empty()) return model.Unsupported(key, Quoted(affix), " is not supported");
  }
  ASSIGN_OR_RETURN(const bool byte_fallback, model.BoolOr("byte_fallback", false));
  if (byte_fallback) return model.Unsupported("byte_fallback", "true is not supported");
  ASSIGN_OR_RETURN(const std::optional<double> dropout, model.OptionalNumber("dropout"));
  if (dropout.value_or(0) != 0) return model.Unsupported("dropout", *dropout, " is not supported");
  // Only matters if there is an unknown token.
  return model.BoolOr("fuse_unk", false).status();
}

absl::Status TokenizerJsonReader::ReadVocabulary(ConfigReader& model) {
  const JsonValue* const vocab = model.Find("vocab");
  if (vocab == nullptr || vocab->members().empty()) return model.Impossible("vocab", "no tokens");
  const JsonValue* const added = file_.Find("added_tokens");
  const size_t num_added = added == nullptr ? 0 : added->elements().size();
  max_id_ = std::min<int64_t>(vocab_rows_ - 1, 2 * (vocab->members().size() + num_added) + 1023);
  vocabulary_.reserve(vocab->members().size());
  for (const JsonMember& member : vocab->members()) {
    const std::optional<int32_t> id = IdOf(member.value);
    if (!id) {
      return model.Impossible("vocab", Quoted(member.key), ": ", member.value.Describe(),
                              " is not an id in 0 to ", max_id_);
    }
    if (member.key.empty()) return model.Impossible("vocab", "the token of id ", *id, " is empty");
    GrowTo(*id);
    if (assets_.token_kinds[*id] != TokenKind::kUnused) {
      return model.Impossible("vocab", "id ", *id, " is there twice");
    }
    assets_.token_kinds[*id] = TokenKind::kNormal;
    vocabulary_.emplace(member.key, *id);
  }
  return absl::OkStatus();
}

absl::Status TokenizerJsonReader::ReadMerges(ConfigReader& model) {
  const JsonValue* const merges = model.Find("merges");
  if (merges == nullptr || !merges->is_array()) return model.Impossible("merges", "not a list");
  assets_.merges.reserve(merges->elements().size());
  std::string merged;
  for (size_t rank = 0; rank < merges->elements().size(); ++rank) {
    const JsonValue& merge = merges->elements()[rank];
    const auto pair = SplitMerge(merge);
    if (!pair) {
      return model.Impossible("merges", "[", rank, "]: ", merge.Describe(),
                              " is not a pair of tokens");
    }
    const std::optional<int32_t> left = NormalToken(pair->first);
    const std::optional<int32_t> right = NormalToken(pair->second);
    merged.assign(pair->first.data(), pair->first.size());
    merged.append(pair->second.data(), pair->second.size());
    if (!left || !right || !NormalToken(merged)) {
      return model.Impossible("merges", "[", rank, "]: ", Quoted(pair->first), " and ",
                              Quoted(pair->second),
                              " are not two tokens that make a third, none of them an added one");
    }
    assets_.merges.emplace_back(*left, *right);
  }
  return absl::OkStatus();
}

absl::Status TokenizerJsonReader::ReadAddedToken(const JsonValue& token, const std::string& key) {
  const auto refuse = [&](const auto&... what) {
    return absl::DataLossError(absl::StrCat(path_, ": ", key, ": ", what...));
  };
  const JsonValue* const content = token.Find("content");
  const JsonValue* const id_value = token.Find("id");
  if (content == nullptr || content->AsString() == nullptr || content->AsString()->empty() ||
      id_value == nullptr) {
    return refuse("has no content or no id");
  }
  const std::string& spelling = *content->AsString();
  const std::optional<int32_t> valid_id = IdOf(*id_value);
  if (!valid_id) return refuse(id_value->Describe(), " is not an id in 0 to ", max_id_);
  const int32_t id = *valid_id;
  const auto in_vocabulary = vocabulary_.find(spelling);
  if (in_vocabulary != vocabulary_.end() && in_vocabulary->second != id) {
    return refuse(Quoted(spelling), " has id ", id, ", and ", in_vocabulary->second,
                  " in the vocabulary");
  }
  GrowTo(id);
  if (in_vocabulary == vocabulary_.end() && assets_.token_kinds[id] != TokenKind::kUnused) {
    return refuse("id ", id, " of ", Quoted(spelling), " is that of another token");
  }
  if (!added_.insert(spelling).second) return refuse(Quoted(spelling), " is there twice");
  assets_.token_bytes[id] = spelling;
  ASSIGN_OR_RETURN(const AddedTokenFlags flags, ReadAddedTokenFlags(token, path_, key));
  SetAddedToken(id, flags, assets_);
  return absl::OkStatus();
}

absl::Status TokenizerJsonReader::ReadAddedTokens() {
  const JsonValue* const added = file_.Find("added_tokens");
  if (added != nullptr) {
    if (!added->is_array()) return file_.Impossible("added_tokens", "not a list");
    for (size_t i = 0; i < added->elements().size(); ++i) {
      RETURN_IF_ERROR(ReadAddedToken(added->elements()[i], absl::StrCat("added_tokens[", i, "]")));
    }
  }
  // Only now, because added tokens may also be in the vocabulary, where they are spelled as text.
  const ByteAlphabet alphabet;
  for (const auto& [spelling, id] : vocabulary_) {
    if (assets_.token_kinds[id] != TokenKind::kNormal) continue;
    std::optional<std::string> bytes = alphabet.Decode(spelling);
    if (!bytes) {
      return absl::DataLossError(absl::StrCat(path_, ": model.vocab: ", Quoted(spelling),
                                              " is not of the byte-level alphabet"));
    }
    assets_.token_bytes[id] = *std::move(bytes);
  }
  return absl::OkStatus();
}

absl::Status TokenizerJsonReader::AddFirstToken() {
  ASSIGN_OR_RETURN(const std::optional<int32_t> first, ReadFirstToken(file_));
  if (!first) return absl::OkStatus();
  if (*first > max_id_ || static_cast<size_t>(*first) >= assets_.token_bytes.size() ||
      assets_.token_kinds[*first] == TokenKind::kUnused) {
    return file_.Impossible("post_processor", "token ", *first, " is not there");
  }
  assets_.bos_token_id = *first;
  assets_.add_bos = true;
  return absl::OkStatus();
}

// The unknown token stands for bytes that have no token. If every byte has one, it changes nothing.
absl::Status TokenizerJsonReader::CheckUnknownToken(ConfigReader& model) {
  ASSIGN_OR_RETURN(const std::string unknown, model.StringOr("unk_token", ""));
  if (unknown.empty()) return absl::OkStatus();
  int known_bytes = 0;
  for (const auto& [spelling, id] : vocabulary_) {
    const bool is_byte = assets_.token_bytes[id].size() == 1;
    if (is_byte && assets_.token_kinds[id] == TokenKind::kNormal) ++known_bytes;
  }
  if (known_bytes == 256) return absl::OkStatus();
  return model.Unsupported("unk_token", Quoted(unknown), " is not supported where only ",
                           known_bytes, " bytes have a token");
}

absl::StatusOr<TokenizerAssets> TokenizerJsonReader::Read() {
  const JsonValue* const model_value = file_.Find("model");
  if (model_value == nullptr || !model_value->is_object()) {
    return file_.Impossible("model", "missing");
  }
  ConfigReader model(*model_value, path_, "model.");
  RETURN_IF_ERROR(CheckModel(model));
  RETURN_IF_ERROR(ReadTokenizerSteps(file_, assets_));
  RETURN_IF_ERROR(ReadVocabulary(model));
  RETURN_IF_ERROR(ReadAddedTokens());
  RETURN_IF_ERROR(ReadMerges(model));
  RETURN_IF_ERROR(AddFirstToken());
  RETURN_IF_ERROR(CheckUnknownToken(model));
  RETURN_IF_ERROR(model.RefuseOthers());
  for (const char* const key : {"version", "truncation", "padding"}) file_.Find(key);
  RETURN_IF_ERROR(file_.RefuseOthers());
  return std::move(assets_);
}

}  // namespace

absl::StatusOr<TokenizerAssets> ReadTokenizerJson(const JsonValue& json, absl::string_view path,
                                                  int vocab) {
  if (!json.is_object()) {
    return absl::DataLossError(absl::StrCat(path, ": ", json.TypeName(), ", not an object"));
  }
  return TokenizerJsonReader(json, path, vocab).Read();
}

absl::StatusOr<AddedTokenFlags> ReadAddedTokenFlags(const JsonValue& token, absl::string_view path,
                                                    absl::string_view key) {
  ConfigReader reader(token, path, absl::StrCat(key, "."));
  AddedTokenFlags flags;
  ASSIGN_OR_RETURN(flags.special, reader.BoolOr("special", false));
  ASSIGN_OR_RETURN(flags.rules.single_word, reader.BoolOr("single_word", false));
  ASSIGN_OR_RETURN(flags.rules.lstrip, reader.BoolOr("lstrip", false));
  ASSIGN_OR_RETURN(flags.rules.rstrip, reader.BoolOr("rstrip", false));
  // The default of the constructor of AddedToken in tokenizers.
  ASSIGN_OR_RETURN(flags.rules.normalized, reader.BoolOr("normalized", !flags.special));
  for (const char* const other : {"id", "content", "__type"}) reader.Find(other);
  RETURN_IF_ERROR(reader.RefuseOthers());
  return flags;
}

void SetAddedToken(int32_t id, const AddedTokenFlags& flags, TokenizerAssets& assets) {
  assets.token_kinds[id] = flags.special ? TokenKind::kControl : TokenKind::kUserDefined;
  assets.added_token_rules[id] = flags.rules;
}

}  // namespace phalanx
