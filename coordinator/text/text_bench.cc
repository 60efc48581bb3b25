// Measures the speed of text processing with a real vocabulary: `text_bench`, with the file in
// $SMOLLM2.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/text/answer/detokenizer.h"
#include "coordinator/text/jinja/local_jinja.h"
#include "coordinator/text/renderer/render_loop.h"
#include "coordinator/text/renderer/renderer_pool.h"
#include "coordinator/text/template/chat_encoder.h"
#include "coordinator/text/template/chat_template.h"
#include "coordinator/text/tokenizer/tokenizer.h"
#include "model/files/gguf.h"
#include "model/text/tokenizer_assets_gguf.h"

namespace phalanx {
namespace {

struct Model {
  std::unique_ptr<Tokenizer> tokenizer;
  LocalJinja local_jinja;
  std::unique_ptr<RendererPool> renderers;
  // local_template renders in this process, chat_template in another one, as in the coordinator.
  std::unique_ptr<ChatTemplate> local_template;
  std::unique_ptr<ChatTemplate> chat_template;
};

absl::StatusOr<TokenizerAssets> ReadAssets(const char* path) {
  auto file = GgufFile::Open(path);
  if (!file.ok()) return file.status();
  return ReadTokenizerAssets(**file);
}

std::string MixedText(size_t bytes) {
  std::string text;
  while (text.size() < bytes) {
    text += "The quick brown fox didn't jump over 13 lazy dogs; it said: \"naïve 字 😀\".\n";
  }
  return text;
}

void EncodeText(benchmark::State& state, const Model& model) {
  const std::string text = MixedText(static_cast<size_t>(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(model.tokenizer->Encode(text));
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(text.size()));
}

void DecodeTokens(benchmark::State& state, const Model& model) {
  const std::vector<int32_t> ids = *model.tokenizer->Encode(MixedText(1 << 12));
  for (auto _ : state) {
    Detokenizer detokenizer(&model.tokenizer->assets(), Detokenizer::ControlTokens::kHide);
    for (const int32_t id : ids) benchmark::DoNotOptimize(detokenizer.Push({&id, 1}));
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(ids.size()));
}

void EncodeConversation(benchmark::State& state, const Model& model) {
  const std::vector<ChatMessage> messages(static_cast<size_t>(state.range(0)),
                                          {"user", MixedText(200)});
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        EncodeChat(*model.tokenizer, *model.chat_template, {messages}, "nonce-"));
  }
}

void RenderConversation(benchmark::State& state, const ChatTemplate& chat_template) {
  const std::vector<ChatMessage> messages(static_cast<size_t>(state.range(0)),
                                          {"user", MixedText(200)});
  for (auto _ : state) benchmark::DoNotOptimize(chat_template.Render({messages}));
}

int Run(int argc, char** argv) {
  if (const auto exit_code = RunRendererIfAsked(argc, argv)) return *exit_code;
  const char* path = std::getenv("SMOLLM2");
  auto assets = ReadAssets(path == nullptr ? "" : path);
  if (!assets.ok()) {
    std::fprintf(stderr, "text_bench: $SMOLLM2: %s\n", assets.status().ToString().c_str());
    return 1;
  }
  Model model;
  model.renderers = *RendererPool::Start(1, {});
  model.chat_template = *ChatTemplate::Create(*model.renderers, assets->chat_template, {});
  model.local_template = *ChatTemplate::Create(model.local_jinja, assets->chat_template, {});
  model.tokenizer = *Tokenizer::Create(*std::move(assets));
  const auto add = [&](const char* name, auto run) {
    return benchmark::RegisterBenchmark(
        name, [&model, run](benchmark::State& state) { run(state, model); });
  };
  add("encode_text_bytes", EncodeText)->Arg(1 << 10)->Arg(1 << 20);
  add("decode_tokens", DecodeTokens);
  add("encode_chat_messages", EncodeConversation)->Arg(1)->Arg(32);
  add("render_chat_messages",
      [](benchmark::State& state, const Model& m) { RenderConversation(state, *m.chat_template); })
      ->Arg(1)
      ->Arg(32);
  add("render_chat_messages_in_process",
      [](benchmark::State& state, const Model& m) { RenderConversation(state, *m.local_template); })
      ->Arg(1)
      ->Arg(32);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace
}  // namespace phalanx

int main(int argc, char** argv) { return phalanx::Run(argc, argv); }
