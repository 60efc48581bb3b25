#include "coordinator/server/model_text_service.h"

#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/log.h"
#include "base/status.h"
#include "coordinator/text/answer/detokenizer.h"
#include "coordinator/text/answer/tool_call_grammar.h"
#include "coordinator/text/template/chat_encoder.h"
#include "coordinator/text/template/chat_template.h"
#include "coordinator/text/template/turn_markers.h"
#include "coordinator/text/tokenizer/tokenizer.h"
#include "model/text/turn_ends.h"

namespace phalanx {
namespace {

class ModelAnswerDecoder final : public AnswerDecoder {
 public:
  explicit ModelAnswerDecoder(const TokenizerAssets& assets, absl::Span<const int32_t> spelled = {})
      : detokenizer_(&assets, Detokenizer::ControlTokens::kHide, spelled) {}

  std::string Append(absl::Span<const int32_t> token_ids) override {
    return detokenizer_.Push(token_ids);
  }
  std::string Finish() override { return detokenizer_.Flush(); }

 private:
  Detokenizer detokenizer_;
};

// The chat templates of a model; null for each that it does not have.
struct ModelTemplates {
  std::unique_ptr<ChatTemplate> default_template;
  std::unique_ptr<ChatTemplate> tool_use;

  const ChatTemplate* ForTools() const {
    return tool_use ? tool_use.get() : default_template.get();
  }
};

class ModelTextService final : public TextService {
 public:
  ModelTextService(std::unique_ptr<Tokenizer> tokenizer, std::unique_ptr<JinjaCompiler> jinja,
                   ModelTemplates templates, std::vector<int32_t> tool_marks)
      : tokenizer_(std::move(tokenizer)),
        jinja_(std::move(jinja)),
        templates_(std::move(templates)),
        tool_marks_(std::move(tool_marks)) {}

  absl::StatusOr<EncodedPrompt> EncodeText(absl::string_view text, const EncodeOptions& options,
                                           const std::atomic<bool>& cancelled) const override {
    RETURN_IF_ERROR(CheckBos(options));
    const ControlSpelling control =
        options.allow_special ? ControlSpelling::kToken : ControlSpelling::kPlainText;
    EncodedText encoded{.token_ids = {}, .text = std::string(text)};
    ASSIGN_OR_RETURN(
        encoded.token_ids,
        tokenizer_->Encode(text, control, &cancelled, options.pieces ? &encoded.spans : nullptr));
    // What a caller spells is his, so that only a bos token of the tokenizer's own is taken away.
    SetBos(options, /*remove=*/tokenizer_->assets().add_bos, &encoded);
    return PromptOf(std::move(encoded));
  }

  absl::StatusOr<EncodedPrompt> EncodeChat(const Conversation& conversation,
                                           const EncodeOptions& options,
                                           const std::atomic<bool>& cancelled) const override {
    const ChatTemplate* const chat_template =
        conversation.tools.empty() ? templates_.default_template.get() : templates_.ForTools();
    if (chat_template == nullptr) {
      return absl::InvalidArgumentError("chat: the model has no chat template; send text");
    }
    RETURN_IF_ERROR(CheckBos(options));
    ASSIGN_OR_RETURN(EncodedText encoded,
                     EncodeConversation(*chat_template, conversation, options, cancelled));
    SetBos(options, /*remove=*/true, &encoded);
    return PromptOf(std::move(encoded));
  }

  std::string Decode(absl::Span<const int32_t> token_ids) const override {
    Detokenizer detokenizer(&tokenizer_->assets(), Detokenizer::ControlTokens::kSpell);
    std::string text = detokenizer.Push(token_ids);
    return text + detokenizer.Flush();
  }

  std::unique_ptr<AnswerDecoder> NewAnswerDecoder() const override {
    return std::make_unique<ModelAnswerDecoder>(tokenizer_->assets());
  }
  std::unique_ptr<AnswerDecoder> NewToolAnswerDecoder() const override {
    return std::make_unique<ModelAnswerDecoder>(tokenizer_->assets(), tool_marks_);
  }

 private:
  absl::StatusOr<EncodedText> EncodeConversation(const ChatTemplate& chat_template,
                                                 const Conversation& conversation,
                                                 const EncodeOptions& options,
                                                 const std::atomic<bool>& cancelled) const {
    if (options.allow_special) {
      EncodedText encoded;
      ASSIGN_OR_RETURN(encoded.text, chat_template.Render(conversation));
      ASSIGN_OR_RETURN(encoded.token_ids,
                       tokenizer_->EncodeRendered(encoded.text, {}, &cancelled,
                                                  options.pieces ? &encoded.spans : nullptr));
      return encoded;
    }
    // Random, so that no message can contain the marker that another one is marked with.
    std::random_device random;
    const std::string marker = absl::StrCat(absl::Hex(random()), "-", absl::Hex(random()), "-",
                                            absl::Hex(random()), "-", absl::Hex(random()), "-");
    return phalanx::EncodeChat(*tokenizer_, chat_template, conversation, marker,
                               /*add_generation_prompt=*/true, &cancelled, options.pieces);
  }

  absl::Status CheckBos(const EncodeOptions& options) const {
    if (!options.add_bos.value_or(false) || tokenizer_->assets().bos_token_id >= 0) {
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError("add_bos: this model has no bos token");
  }

  // Puts a bos token to the front of the tokens, or takes the one that is there away if `remove` is
  // true, where the options ask for it.
  void SetBos(const EncodeOptions& options, bool remove, EncodedText* encoded) const {
    if (!options.add_bos.has_value()) return;
    std::vector<int32_t>& ids = encoded->token_ids;
    std::vector<TextSpan>& spans = encoded->spans;
    const int32_t bos = tokenizer_->assets().bos_token_id;
    const bool has_bos = bos >= 0 && !ids.empty() && ids.front() == bos;
    if (*options.add_bos && !has_bos) {
      ids.insert(ids.begin(), bos);
      if (options.pieces) spans.insert(spans.begin(), TextSpan{});
    }
    if (!*options.add_bos && has_bos && remove) {
      ids.erase(ids.begin());
      if (options.pieces) spans.erase(spans.begin());
    }
  }

  // With pieces, if there are spans.
  EncodedPrompt PromptOf(EncodedText encoded) const {
    EncodedPrompt prompt{std::move(encoded.token_ids), std::move(encoded.text)};
    prompt.pieces.reserve(encoded.spans.size());
    for (size_t i = 0; i < encoded.spans.size(); ++i) {
      prompt.pieces.push_back(
          {tokenizer_->assets().token_bytes[prompt.token_ids[i]], encoded.spans[i]});
    }
    return prompt;
  }

  const std::unique_ptr<Tokenizer> tokenizer_;
  // Declared before templates_, which use it.
  const std::unique_ptr<JinjaCompiler> jinja_;
  const ModelTemplates templates_;
  // Control tokens that begin or end a tool call, ascending.
  const std::vector<int32_t> tool_marks_;
};

absl::StatusOr<std::unique_ptr<ChatTemplate>> MakeTemplate(JinjaCompiler& jinja,
                                                           const TokenizerAssets& assets,
                                                           const std::string& source) {
  if (source.empty()) return nullptr;
  ChatTemplateOptions options;
  options.tokens = assets.template_tokens;
  for (const auto& [name, id] :
       {std::pair("bos_token", assets.bos_token_id), {"eos_token", assets.eos_token_id}}) {
    if (id >= 0) options.tokens.emplace(name, assets.token_bytes[id]);
  }
  auto chat_template = ChatTemplate::Create(jinja, source, options);
  if (absl::IsInvalidArgument(chat_template.status())) {
    return absl::InvalidArgumentError(absl::StrCat(
        chat_template.status().message(), "; --chat_template FILE takes another in its place"));
  }
  return chat_template;
}

std::string NamedTemplate(const TokenizerAssets& assets, const std::string& name) {
  const auto found = assets.named_chat_templates.find(name);
  return found == assets.named_chat_templates.end() ? "" : found->second;
}

std::string Spellings(const TokenizerAssets& assets, absl::Span<const int32_t> ids) {
  return absl::StrJoin(ids, ", ", [&](std::string* out, int32_t id) {
    absl::StrAppend(out, absl::Utf8SafeCEscape(assets.token_bytes[id]), " (", id, ")");
  });
}

// Logs which tokens the model's files call text and are control tokens here, and which end tokens
// stay text. To be called after the markers of the templates have been promoted.
void LogPromotions(const TokenizerAssets& assets) {
  if (!assets.promoted_token_ids.empty()) {
    LOG(INFO) << "tokens that the model's files store as text, but that end turns or set them "
                 "apart, are control tokens: "
              << Spellings(assets, assets.promoted_token_ids);
  }
  std::vector<int32_t> ordinary;
  for (const int32_t id : assets.eos_token_ids) {
    const bool is_known = static_cast<size_t>(id) < assets.token_kinds.size();
    if (is_known && assets.token_kinds[id] == TokenKind::kNormal) ordinary.push_back(id);
  }
  if (ordinary.empty()) return;
  LOG(WARNING) << "tokens of ordinary text end answers, as the model's files say: "
               << Spellings(assets, ordinary)
               << "; they have no text in answers, and callers' texts can hold them";
}

}  // namespace

absl::StatusOr<std::unique_ptr<TextService>> MakeModelTextService(
    TokenizerAssets assets, std::unique_ptr<JinjaCompiler> jinja, ChatAbilities* abilities) {
  const std::string& unnamed = assets.chat_template;
  ModelTemplates templates;
  const std::string default_source = unnamed.empty() ? NamedTemplate(assets, "default") : unnamed;
  const std::string tool_use_source = NamedTemplate(assets, "tool_use");
  const std::string& tools_source = tool_use_source.empty() ? default_source : tool_use_source;
  ASSIGN_OR_RETURN(templates.default_template, MakeTemplate(*jinja, assets, default_source));
  auto tool_use = MakeTemplate(*jinja, assets, tool_use_source);
  if (!tool_use.ok()) {
    return absl::Status(tool_use.status().code(),
                        absl::StrCat("\"tool_use\": ", tool_use.status().message()));
  }
  templates.tool_use = *std::move(tool_use);
  const ChatTemplate* const for_tools = templates.ForTools();
  abilities->has_chat_template = templates.default_template != nullptr;
  abilities->supports_tools = for_tools != nullptr && for_tools->tools_input() != ToolsInput::kNone;
  for (const ChatTemplate* const used :
       {templates.default_template.get(), templates.tool_use.get()}) {
    if (used == nullptr) continue;
    // Before the tokenizer is made, which splits texts at control tokens.
    for (const int32_t id : FindTurnMarkers(assets, *used)) PromoteToControl(id, assets);
  }
  LogPromotions(assets);
  std::vector<int32_t> tool_marks;
  if (abilities->supports_tools) {
    abilities->tool_call_format = FindToolCallFormat(tools_source);
    if (abilities->tool_call_format.has_value()) {
      tool_marks = FindMarkTokens(assets, *abilities->tool_call_format);
      abilities->named_tool_marks = FindNamedMarks(assets, *abilities->tool_call_format);
    }
  }
  ASSIGN_OR_RETURN(std::unique_ptr<Tokenizer> tokenizer, Tokenizer::Create(std::move(assets)));
  return std::make_unique<ModelTextService>(std::move(tokenizer), std::move(jinja),
                                            std::move(templates), std::move(tool_marks));
}

}  // namespace phalanx
