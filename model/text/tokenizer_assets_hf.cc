#include "model/text/tokenizer_assets_hf.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "model/files/json.h"
#include "model/files/mapped_file.h"
#include "model/text/tokenizer_json.h"
#include "model/text/turn_ends.h"

namespace phalanx {
namespace {

constexpr absl::string_view kTokenizer = "tokenizer.json";
constexpr absl::string_view kConfig = "tokenizer_config.json";
constexpr absl::string_view kTokensMap = "special_tokens_map.json";
constexpr absl::string_view kAddedTokens = "added_tokens_decoder";
constexpr absl::string_view kTemplate = "chat_template.jinja";
constexpr absl::string_view kTemplateFolder = "additional_chat_templates";
constexpr absl::string_view kTemplateEnding = ".jinja";

// Roles of tokens. transformers makes these tokens control tokens.
constexpr absl::string_view kRoles[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                        "pad_token", "cls_token", "mask_token"};
constexpr absl::string_view kRoleLists[] = {"additional_special_tokens", "extra_special_tokens"};
// Objects of tokens by name. Templates know the tokens under these names.
constexpr absl::string_view kNamedTokens[] = {"extra_special_tokens",
                                              "model_specific_special_tokens"};

// Reads tokenizer_config.json, on top of what tokenizer.json says. Source: transformers,
// tokenization_utils_base.py and tokenization_utils_tokenizers.py of version 5. Where there is a
// tokenizer.json, "tokenizer_class", "add_bos_token", "add_eos_token" and "add_prefix_space" do
// nothing there.
class TokenizerConfigReader {
 public:
  TokenizerConfigReader(const JsonValue& json, std::string path, TokenizerAssets& assets)
      : json_(json), path_(std::move(path)), assets_(assets) {}

  absl::Status Read() {
    if (!json_.is_object()) {
      return absl::DataLossError(absl::StrCat(path_, ": ", json_.TypeName(), ", not an object"));
    }
    RETURN_IF_ERROR(ReadAddedTokens());
    RETURN_IF_ERROR(ReadRolesOnly());
    RETURN_IF_ERROR(ReadTemplates());
    const JsonValue* const split = json_.Find("split_special_tokens");
    if (split != nullptr && split->AsBool().value_or(false)) {
      return absl::UnimplementedError(
          absl::StrCat(path_, ": split_special_tokens: true is not supported"));
    }
    return absl::OkStatus();
  }

  // For special_tokens_map.json, which holds nothing else.
  absl::Status ReadRolesOnly() {
    RETURN_IF_ERROR(ReadRoles());
    ReadNamedTokens();
    return absl::OkStatus();
  }

 private:
  template <typename... What>
  absl::Status Impossible(absl::string_view key, const What&... what) const {
    return absl::DataLossError(absl::StrCat(path_, ": ", key, ": ", what...));
  }

  absl::Status ReadAddedTokens();
  absl::Status ReadRoles();
  // Reads tokens to which the model gives a name, such as image_token.
  void ReadNamedTokens();
  void ReadNamedToken(absl::string_view name, const JsonValue& value);
  // Makes the token that `value` names a control token and returns it.
  absl::StatusOr<int32_t> MakeControl(absl::string_view key, const JsonValue& value);
  absl::Status ReadTemplates();
  // The id of a token. If an added token and one of the vocabulary have this spelling, the added
  // one.
  std::optional<int32_t> FindToken(absl::string_view spelling);
  // Whether the token of this id is spelled like that in tokenizer.json.
  bool IsSpelled(int32_t id, absl::string_view spelling) const;
  void Index(bool normal, absl::flat_hash_map<absl::string_view, int32_t>& ids) const;

  const JsonValue& json_;
  const std::string path_;
  TokenizerAssets& assets_;
  // Ids by spelling. Filled when FindToken first needs them: a list may name any number of tokens.
  absl::flat_hash_map<absl::string_view, int32_t> added_ids_;
  absl::flat_hash_map<absl::string_view, int32_t> normal_ids_;
};

std::string Quoted(absl::string_view text) {
  return absl::StrCat("\"", absl::CHexEscape(text.substr(0, 80)), "\"");
}

bool TokenizerConfigReader::IsSpelled(int32_t id, absl::string_view spelling) const {
  if (static_cast<size_t>(id) >= assets_.token_bytes.size()) return false;
  const TokenKind kind = assets_.token_kinds[id];
  if (kind == TokenKind::kUnused || assets_.token_bytes[id] != spelling) return false;
  // token_bytes holds bytes, not the spelling in the file. Only these characters are spelled as
  // themselves in the byte-level alphabet.
  return kind != TokenKind::kNormal ||
         std::all_of(spelling.begin(), spelling.end(), absl::ascii_isgraph);
}

void TokenizerConfigReader::Index(bool normal,
                                  absl::flat_hash_map<absl::string_view, int32_t>& ids) const {
  for (size_t id = 0; id < assets_.token_bytes.size(); ++id) {
    const TokenKind kind = assets_.token_kinds[id];
    if (kind == TokenKind::kUnused || (kind == TokenKind::kNormal) != normal) continue;
    ids.emplace(assets_.token_bytes[id], static_cast<int32_t>(id));
  }
}

std::optional<int32_t> TokenizerConfigReader::FindToken(absl::string_view spelling) {
  if (added_ids_.empty()) Index(/*normal=*/false, added_ids_);
  if (const auto it = added_ids_.find(spelling); it != added_ids_.end()) return it->second;
  if (normal_ids_.empty()) Index(/*normal=*/true, normal_ids_);
  const auto it = normal_ids_.find(spelling);
  if (it == normal_ids_.end() || !IsSpelled(it->second, spelling)) return std::nullopt;
  return it->second;
}

// Reads flags of added tokens, which are newer than those in tokenizer.json.
absl::Status TokenizerConfigReader::ReadAddedTokens() {
  const JsonValue* const added = json_.Find(kAddedTokens);
  if (added == nullptr) return absl::OkStatus();
  for (const JsonMember& member : added->members()) {
    const std::string key = absl::StrCat("added_tokens_decoder[", Quoted(member.key), "]");
    const JsonValue* const content = member.value.Find("content");
    int32_t id = -1;
    if (!absl::SimpleAtoi(member.key, &id) || id < 0 || content == nullptr ||
        content->AsString() == nullptr) {
      return Impossible(key, "not an id with a content");
    }
    if (!IsSpelled(id, *content->AsString()))
      return Impossible(key, "is not that token in ", kTokenizer);
    ASSIGN_OR_RETURN(const AddedTokenFlags flags, ReadAddedTokenFlags(member.value, path_, key));
    SetAddedToken(id, flags, assets_);
  }
  return absl::OkStatus();
}

absl::StatusOr<int32_t> TokenizerConfigReader::MakeControl(absl::string_view key,
                                                           const JsonValue& value) {
  const JsonValue* const content = value.is_object() ? value.Find("content") : &value;
  if (content == nullptr || content->AsString() == nullptr) {
    return Impossible(key, value.Describe(), " is not a token");
  }
  const std::optional<int32_t> id = FindToken(*content->AsString());
  if (!id) {
    return Impossible(key, Quoted(*content->AsString()), " is not a token of ", kTokenizer);
  }
  if (assets_.token_kinds[*id] == TokenKind::kNormal) {
    SetAddedToken(*id, {.rules = {}, .special = true}, assets_);
  }
  assets_.token_kinds[*id] = TokenKind::kControl;
  return *id;
}

absl::Status TokenizerConfigReader::ReadRoles() {
  for (const absl::string_view role : kRoles) {
    const JsonValue* const value = json_.Find(role);
    if (value == nullptr || value->is_null()) continue;
    ASSIGN_OR_RETURN(const int32_t id, MakeControl(role, *value));
    assets_.template_tokens[std::string(role)] = assets_.token_bytes[id];
    if (role == "eos_token") assets_.eos_token_id = id;
    if (role != "bos_token") continue;
    if (assets_.add_bos && assets_.bos_token_id != id) {
      return absl::UnimplementedError(absl::StrCat(path_, ": bos_token: has id ", id,
                                                   ", but texts begin with token ",
                                                   assets_.bos_token_id));
    }
    assets_.bos_token_id = id;
  }
  for (const absl::string_view list : kRoleLists) {
    const JsonValue* const values = json_.Find(list);
    if (values == nullptr) continue;
    for (const JsonValue& value : values->elements()) {
      RETURN_IF_ERROR(MakeControl(list, value).status());
    }
    for (const JsonMember& member : values->members()) {
      RETURN_IF_ERROR(MakeControl(list, member.value).status());
    }
  }
  return absl::OkStatus();
}

void TokenizerConfigReader::ReadNamedToken(absl::string_view name, const JsonValue& value) {
  const JsonValue* const content = value.is_object() ? value.Find("content") : &value;
  if (content == nullptr || content->AsString() == nullptr) return;
  assets_.template_tokens[std::string(name)] = *content->AsString();
  // A token that is not in the vocabulary has no id that the model could know.
  if (FindToken(*content->AsString())) MakeControl(name, value).IgnoreError();
}

void TokenizerConfigReader::ReadNamedTokens() {
  for (const JsonMember& member : json_.members()) {
    const bool is_role =
        std::find(std::begin(kRoles), std::end(kRoles), member.key) != std::end(kRoles);
    if (is_role || !absl::EndsWith(member.key, "_token")) continue;
    ReadNamedToken(member.key, member.value);
  }
  for (const absl::string_view list : kNamedTokens) {
    const JsonValue* const values = json_.Find(list);
    if (values == nullptr) continue;
    for (const JsonMember& member : values->members()) ReadNamedToken(member.key, member.value);
  }
}

// Reads one template, or a list of named ones.
absl::Status TokenizerConfigReader::ReadTemplates() {
  const JsonValue* const value = json_.Find("chat_template");
  if (value == nullptr || value->is_null()) return absl::OkStatus();
  if (value->AsString() != nullptr) {
    assets_.chat_template = *value->AsString();
    return absl::OkStatus();
  }
  if (!value->is_array()) return Impossible("chat_template", "neither a text nor a list");
  for (const JsonValue& entry : value->elements()) {
    const JsonValue* const name = entry.Find("name");
    const JsonValue* const source = entry.Find("template");
    if (name == nullptr || name->AsString() == nullptr || source == nullptr ||
        source->AsString() == nullptr) {
      return Impossible("chat_template", "an entry without a name or a template");
    }
    std::string& place = *name->AsString() == "default"
                             ? assets_.chat_template
                             : assets_.named_chat_templates[*name->AsString()];
    place = *source->AsString();
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadText(const std::string& path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<MappedFile> file, MappedFile::Open(path));
  // Python reads files with these line ends.
  return absl::StrReplaceAll(file->text(), {{"\r\n", "\n"}, {"\r", "\n"}});
}

// Reads templates that have files of their own. If there are any, those of tokenizer_config.json do
// not count.
absl::Status ReadTemplateFiles(const std::string& folder, TokenizerAssets& assets) {
  std::optional<std::string> chat_template;
  const std::string path = absl::StrCat(folder, "/", kTemplate);
  if (absl::StatusOr<std::string> text = ReadText(path); text.ok()) {
    chat_template = *std::move(text);
  } else if (!absl::IsNotFound(text.status())) {
    return text.status();
  }
  std::map<std::string, std::string> named;
  for (const std::string& file : NamedChatTemplateFiles(folder)) {
    const std::string name = std::filesystem::path(file).stem();
    ASSIGN_OR_RETURN(named[name], ReadText(absl::StrCat(folder, "/", file)));
  }
  if (const auto it = named.find("default"); it != named.end()) {
    chat_template = std::move(it->second);
    named.erase(it);
  }
  if (!chat_template && named.empty()) return absl::OkStatus();
  assets.chat_template = std::move(chat_template).value_or("");
  assets.named_chat_templates = std::move(named);
  return absl::OkStatus();
}

}  // namespace

std::vector<std::string> NamedChatTemplateFiles(const std::string& folder) {
  std::vector<std::string> files;
  std::error_code error;
  std::filesystem::directory_iterator entries(absl::StrCat(folder, "/", kTemplateFolder), error);
  for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
    const std::filesystem::path& path = entries->path();
    if (path.extension() != std::string(kTemplateEnding)) continue;
    files.push_back(absl::StrCat(kTemplateFolder, "/", path.filename().string()));
  }
  std::sort(files.begin(), files.end());
  return files;
}

absl::StatusOr<TokenizerAssets> ReadTokenizerAssets(const std::string& folder, int vocab) {
  const std::string tokenizer_path = absl::StrCat(folder, "/", kTokenizer);
  ASSIGN_OR_RETURN(const JsonValue tokenizer, ReadJsonFile(tokenizer_path));
  ASSIGN_OR_RETURN(TokenizerAssets assets, ReadTokenizerJson(tokenizer, tokenizer_path, vocab));
  const std::string config_path = absl::StrCat(folder, "/", kConfig);
  const absl::StatusOr<JsonValue> config = ReadJsonFile(config_path);
  if (config.ok()) {
    RETURN_IF_ERROR(TokenizerConfigReader(*config, config_path, assets).Read());
  } else if (!absl::IsNotFound(config.status())) {
    return config.status();
  }
  // An older file for the same, which transformers follows if the newer one does not have it.
  if (!config.ok() || config->Find(kAddedTokens) == nullptr) {
    const std::string map_path = absl::StrCat(folder, "/", kTokensMap);
    const absl::StatusOr<JsonValue> map = ReadJsonFile(map_path);
    if (map.ok()) {
      RETURN_IF_ERROR(TokenizerConfigReader(*map, map_path, assets).ReadRolesOnly());
    } else if (!absl::IsNotFound(map.status())) {
      return map.status();
    }
  }
  RETURN_IF_ERROR(ReadTemplateFiles(folder, assets));
  assets.eos_token_ids = TurnEnds(assets, {assets.eos_token_id});
  return assets;
}

}  // namespace phalanx
