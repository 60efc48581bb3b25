// Tests that any bytes go through the real model's vocabulary and back, from any number of threads.
#include <gtest/gtest.h>

#include <cstdlib>
#include <iterator>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "coordinator/text/jinja/local_jinja.h"
#include "coordinator/text/template/chat_encoder.h"
#include "coordinator/text/template/chat_template.h"
#include "coordinator/text/tokenizer/tokenizer.h"
#include "model/files/gguf.h"
#include "model/text/tokenizer_assets_gguf.h"

namespace phalanx {
namespace {

class RobustnessTest : public testing::Test {
 protected:
  void SetUp() override {
    auto file = GgufFile::Open(std::getenv("SMOLLM2"));
    ASSERT_TRUE(file.ok()) << file.status();
    auto assets = ReadTokenizerAssets(**file);
    ASSERT_TRUE(assets.ok()) << assets.status();
    for (const std::string& bytes : assets->token_bytes) {
      if (bytes.size() == 1) known_bytes_.insert(bytes[0]);
    }
    chat_template_ = *ChatTemplate::Create(jinja_, assets->chat_template, {});
    tokenizer_ = *Tokenizer::Create(*std::move(assets));
  }

  std::string WithoutUnknownBytes(const std::string& text) const {
    std::string known;
    for (const char byte : text) {
      if (known_bytes_.count(byte) > 0) known.push_back(byte);
    }
    return known;
  }

  std::string BytesOf(const std::vector<int32_t>& ids) const {
    std::string bytes;
    for (const int32_t id : ids) bytes += tokenizer_->assets().token_bytes[id];
    return bytes;
  }

  std::set<char> known_bytes_;
  LocalJinja jinja_;
  std::unique_ptr<ChatTemplate> chat_template_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(RobustnessTest, AnyBytesComeBack) {
  ASSERT_GT(known_bytes_.size(), 200u);
  std::mt19937 random(7);
  for (int round = 0; round < 2000; ++round) {
    std::string text(random() % 200, '\0');
    for (char& byte : text) byte = static_cast<char>(random());
    ASSERT_EQ(BytesOf(*tokenizer_->Encode(text)), WithoutUnknownBytes(text));
  }
}

TEST_F(RobustnessTest, AnyMixOfCharactersComesBack) {
  const std::string parts[] = {"word", " ", "\n",           "1", "'ll", "é",
                               "字",   "😀", "<|im_start|>", "!", "\t",  "<|im_end|>"};
  std::mt19937 random(8);
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (unsigned left = random() % 40; left > 0; --left)
      text += parts[random() % std::size(parts)];
    ASSERT_EQ(BytesOf(*tokenizer_->Encode(text)), text);
  }
}

TEST_F(RobustnessTest, ThreadsDoNotDisturbEachOther) {
  constexpr int kThreads = 4;
  const auto chat = [&](int thread) {
    const std::vector<ChatMessage> messages = {{"user", "thread " + std::to_string(thread)}};
    return EncodeChat(*tokenizer_, *chat_template_, {messages}, "nonce-")->token_ids;
  };
  std::vector<std::vector<int32_t>> expected;
  for (int i = 0; i < kThreads; ++i) expected.push_back(chat(i));
  std::vector<int> equal(kThreads, 0);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 50; ++round) equal[i] += chat(i) == expected[i] ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(equal, std::vector<int>(kThreads, 50));
}

}  // namespace
}  // namespace phalanx
