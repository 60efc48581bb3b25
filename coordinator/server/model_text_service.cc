#include "coordinator/server/model_text_service.h"

#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "coordinator/text/chat_encoder.h"
#include "coordinator/text/chat_template.h"
#include "coordinator/text/detokenizer.h"
#include "coordinator/text/tokenizer.h"

namespace phalanx {
namespace {

class ModelAnswerDecoder final : public AnswerDecoder {
 public:
  explicit ModelAnswerDecoder(const TokenizerAssets& assets)
      : detokenizer_(&assets, Detokenizer::ControlTokens::kHide) {}

  std::string Append(absl::Span<const int32_t> token_ids) override {
    return detokenizer_.Push(token_ids);
  }
  std::string Finish() override { return detokenizer_.Flush(); }

 private:
  Detokenizer detokenizer_;
};

class ModelTextService final : public TextService {
 public:
  ModelTextService(std::unique_ptr<Tokenizer> tokenizer,
                   std::unique_ptr<ChatTemplate> chat_template)
      : tokenizer_(std::move(tokenizer)), chat_template_(std::move(chat_template)) {}

  absl::StatusOr<EncodedPrompt> EncodeText(absl::string_view text,
                                           bool allow_special) const override {
    const ControlSpelling control =
        allow_special ? ControlSpelling::kToken : ControlSpelling::kPlainText;
    ASSIGN_OR_RETURN(std::vector<int32_t> token_ids, tokenizer_->Encode(text, control));
    return EncodedPrompt{std::move(token_ids), std::string(text)};
  }

  absl::StatusOr<EncodedPrompt> EncodeChat(absl::Span<const ChatTurn> turns,
                                           bool allow_special) const override {
    if (chat_template_ == nullptr) {
      return absl::InvalidArgumentError("chat: the model has no chat template; send text");
    }
    std::vector<ChatMessage> messages;
    messages.reserve(turns.size());
    for (const ChatTurn& turn : turns) messages.push_back({turn.role, turn.content});
    if (allow_special) {
      ASSIGN_OR_RETURN(std::string text, chat_template_->Render(messages));
      ASSIGN_OR_RETURN(std::vector<int32_t> token_ids, tokenizer_->EncodeRendered(text, {}));
      return EncodedPrompt{std::move(token_ids), std::move(text)};
    }
    // Unguessable, so that no message can hold the marker of another.
    std::random_device random;
    const std::string marker = absl::StrCat(absl::Hex(random()), "-", absl::Hex(random()), "-",
                                            absl::Hex(random()), "-", absl::Hex(random()), "-");
    ASSIGN_OR_RETURN(EncodedText encoded,
                     phalanx::EncodeChat(*tokenizer_, *chat_template_, messages, marker));
    return EncodedPrompt{std::move(encoded.token_ids), std::move(encoded.text)};
  }

  std::string Decode(absl::Span<const int32_t> token_ids) const override {
    Detokenizer detokenizer(&tokenizer_->assets(), Detokenizer::ControlTokens::kSpell);
    std::string text = detokenizer.Push(token_ids);
    return text + detokenizer.Flush();
  }

  std::unique_ptr<AnswerDecoder> NewAnswerDecoder() const override {
    return std::make_unique<ModelAnswerDecoder>(tokenizer_->assets());
  }

 private:
  const std::unique_ptr<Tokenizer> tokenizer_;
  // Null if the model has none.
  const std::unique_ptr<ChatTemplate> chat_template_;
};

std::string SpellingOf(const TokenizerAssets& assets, int32_t id) {
  return id < 0 ? "" : assets.token_bytes[id];
}

}  // namespace

absl::StatusOr<std::unique_ptr<TextService>> MakeModelTextService(TokenizerAssets assets) {
  std::unique_ptr<ChatTemplate> chat_template;
  if (!assets.chat_template.empty()) {
    ASSIGN_OR_RETURN(chat_template,
                     ChatTemplate::Create(assets.chat_template,
                                          {.bos_token = SpellingOf(assets, assets.bos_token_id),
                                           .eos_token = SpellingOf(assets, assets.eos_token_id)}));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<Tokenizer> tokenizer, Tokenizer::Create(std::move(assets)));
  return std::make_unique<ModelTextService>(std::move(tokenizer), std::move(chat_template));
}

}  // namespace phalanx
