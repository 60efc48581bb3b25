// Text processing for tests: every byte is a token.
#ifndef PHALANX_COORDINATOR_SERVER_TESTING_FAKE_TEXT_SERVICE_H_
#define PHALANX_COORDINATOR_SERVER_TESTING_FAKE_TEXT_SERVICE_H_

#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "coordinator/server/text_service.h"

namespace phalanx {

inline constexpr int kFakeVocab = 256;
// The control token at the end of an answer. A text that is exactly "<eos>" is its spelling.
inline constexpr int32_t kFakeEos = 2;
// Only where it is asked for.
inline constexpr int32_t kFakeBos = 1;

// Holds a character back until its last byte.
class FakeAnswerDecoder final : public AnswerDecoder {
 public:
  std::string Append(absl::Span<const int32_t> token_ids) override {
    for (const int32_t id : token_ids) bytes_.push_back(static_cast<char>(id));
    size_t whole = 0;
    while (whole < bytes_.size()) {
      const auto lead = static_cast<unsigned char>(bytes_[whole]);
      const size_t length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
      if (whole + length > bytes_.size()) break;
      whole += length;
    }
    std::string text = bytes_.substr(0, whole);
    bytes_.erase(0, whole);
    return text;
  }
  std::string Finish() override { return bytes_.empty() ? "" : "\xef\xbf\xbd"; }

 private:
  std::string bytes_;
};

// A text that begins with "block" takes until Release, the text "endless" until it is cancelled,
// and the text "untakable" is refused.
class FakeTextService final : public TextService {
 public:
  absl::StatusOr<EncodedPrompt> EncodeText(absl::string_view text, const EncodeOptions& options,
                                           const std::atomic<bool>& cancelled) const override {
    CountText();
    if (absl::StartsWith(text, "block")) Block();
    if (text == "endless") {
      CountBlocked();
      while (!cancelled) std::this_thread::yield();
      return absl::CancelledError("the text service has seen it");
    }
    if (text == "untakable") return absl::InvalidArgumentError("text: cannot be taken");
    EncodedPrompt prompt{.token_ids = {}, .text = std::string(text)};
    if (options.add_bos.value_or(false)) prompt.token_ids.push_back(kFakeBos);
    if (options.allow_special && text == "<eos>") {
      prompt.token_ids.push_back(kFakeEos);
      return prompt;
    }
    for (const char byte : text) {
      if (options.pieces) {
        const size_t at = prompt.pieces.size();
        prompt.pieces.push_back({std::string(1, byte), {at, at + 1}});
      }
      prompt.token_ids.push_back(static_cast<unsigned char>(byte));
    }
    return prompt;
  }

  absl::StatusOr<EncodedPrompt> EncodeChat(const Conversation& conversation,
                                           const EncodeOptions& options,
                                           const std::atomic<bool>& cancelled) const override {
    std::string text;
    for (const Tool& tool : conversation.tools) absl::StrAppend(&text, "tool:", tool.name, ";");
    for (const ChatMessage& message : conversation.messages) {
      absl::StrAppend(&text, message.role, ":", message.content.value_or(""), ";");
    }
    if (conversation.continue_last_message) text.pop_back();
    return EncodeText(conversation.template_arguments_json.value_or("") + text, options, cancelled);
  }

  std::string Decode(absl::Span<const int32_t> token_ids) const override {
    return FakeAnswerDecoder().Append(token_ids);
  }

  std::unique_ptr<AnswerDecoder> NewAnswerDecoder() const override {
    return std::make_unique<FakeAnswerDecoder>();
  }

  // Texts that were to be encoded so far.
  int texts() const {
    MutexLock lock(&mutex_);
    return texts_;
  }
  // Returns once `count` texts have blocked a thread.
  void WaitUntilBlocked(int count) {
    MutexLock lock(&mutex_);
    while (blocked_ < count) changed_.Wait(&mutex_);
  }
  void Release() {
    MutexLock lock(&mutex_);
    released_ = true;
    changed_.SignalAll();
  }

 private:
  void CountText() const {
    MutexLock lock(&mutex_);
    ++texts_;
  }
  void CountBlocked() const {
    MutexLock lock(&mutex_);
    ++blocked_;
    changed_.SignalAll();
  }
  void Block() const {
    CountBlocked();
    MutexLock lock(&mutex_);
    while (!released_) changed_.Wait(&mutex_);
  }

  mutable Mutex mutex_;
  mutable CondVar changed_;
  mutable int texts_ GUARDED_BY(mutex_) = 0;
  mutable int blocked_ GUARDED_BY(mutex_) = 0;
  bool released_ GUARDED_BY(mutex_) = false;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_SERVER_TESTING_FAKE_TEXT_SERVICE_H_
