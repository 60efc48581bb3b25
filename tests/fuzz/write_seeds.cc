// Writes the seeds of the corpora that are better made than typed: bazel run
// //tests/fuzz:write_seeds
// -- $PWD/tests/fuzz/corpus

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/testing/gguf_writer.h"
#include "model/testing/hf_configs.h"
#include "model/testing/hf_folder.h"
#include "model/testing/tiny_hf_model.h"
#include "model/testing/tiny_model.h"
#include "phalanx/v1/inference.pb.h"
#include "phalanx/worker/v1/engine.pb.h"

namespace phalanx {
namespace {

namespace fs = std::filesystem;

void Write(const fs::path& path, const std::string& bytes) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string Zeros(size_t bytes) { return std::string(bytes, '\0'); }

// The keys of a network without weights but those of rotary factors, of the smallest dimensions.
GgufWriter GgufNetwork(const std::string& architecture) {
  GgufWriter writer;
  writer.AddString("general.architecture", architecture);
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, uint32_t>>{{"block_count", 1},
                                                     {"context_length", 64},
                                                     {"embedding_length", 8},
                                                     {"feed_forward_length", 32},
                                                     {"attention.head_count", 2},
                                                     {"attention.head_count_kv", 1},
                                                     {"rope.dimension_count", 4}}) {
    writer.AddU32(absl::StrCat(architecture, ".", key), value);
  }
  writer.AddF32(absl::StrCat(architecture, ".rope.freq_base"), 1e4f);
  writer.AddF32(absl::StrCat(architecture, ".attention.layer_norm_rms_epsilon"), 1e-5f);
  writer.AddTensor("token_embd.weight", TensorType::kF32, {8, 4}, Zeros(8 * 4 * 4));
  writer.AddTensor("output_norm.weight", TensorType::kF32, {8}, Zeros(8 * 4));
  return writer;
}

std::string GgufTokenizer(const std::string& pre) {
  GgufWriter writer;
  writer.AddString("tokenizer.ggml.model", "gpt2");
  writer.AddString("tokenizer.ggml.pre", pre);
  writer.AddStrings("tokenizer.ggml.tokens", {"<|im_end|>", "t", "h", "e", "th", "the", "1"});
  writer.AddI32s("tokenizer.ggml.token_type", {3, 1, 1, 1, 1, 1, 1});
  writer.AddStrings("tokenizer.ggml.merges", {"t h", "th e"});
  writer.AddU32("tokenizer.ggml.eos_token_id", 0);
  writer.AddBool("tokenizer.ggml.add_bos_token", false);
  writer.AddString("tokenizer.chat_template", "{{ messages[0].content }}");
  writer.AddF32("general.sampling.temp", 0.5f);
  return writer.Finish();
}

std::string GgufOfEveryType() {
  GgufWriter writer;
  for (const uint32_t type : {0u, 1u, 7u}) writer.AddPair(absl::StrCat("u", type), type, "\1");
  for (const uint32_t type : {2u, 3u}) writer.AddPair(absl::StrCat("w", type), type, "\1\2");
  for (const uint32_t type : {4u, 5u, 6u})
    writer.AddPair(absl::StrCat("d", type), type, "\1\2\3\4");
  for (const uint32_t type : {10u, 11u, 12u}) {
    writer.AddPair(absl::StrCat("q", type), type, "\1\2\3\4\5\6\7\1");
  }
  for (const auto& [type, bytes] : std::vector<std::pair<uint32_t, size_t>>{{0, 1},
                                                                            {1, 1},
                                                                            {2, 2},
                                                                            {3, 2},
                                                                            {4, 4},
                                                                            {5, 4},
                                                                            {6, 4},
                                                                            {7, 1},
                                                                            {10, 8},
                                                                            {11, 8},
                                                                            {12, 8}}) {
    writer.AddPair(
        absl::StrCat("a", type), 9,
        absl::StrCat(GgufWriter::Bytes(type), GgufWriter::Bytes<uint64_t>(2), Zeros(2 * bytes)));
  }
  writer.AddU32("general.alignment", 8);
  writer.alignment = 8;
  for (const auto& [type, bytes] : std::vector<std::pair<uint32_t, size_t>>{{1, 512},
                                                                            {2, 144},
                                                                            {3, 160},
                                                                            {6, 176},
                                                                            {7, 192},
                                                                            {8, 272},
                                                                            {10, 84},
                                                                            {11, 110},
                                                                            {12, 144},
                                                                            {13, 176},
                                                                            {14, 210},
                                                                            {20, 144},
                                                                            {30, 512}}) {
    writer.AddTensor(absl::StrCat("t", type), static_cast<TensorType>(type), {256}, Zeros(bytes));
  }
  return writer.Finish();
}

void WriteGguf(const fs::path& folder) {
  for (const std::string architecture : {"llama", "phi3", "qwen2"}) {
    Write(folder / architecture, GgufNetwork(architecture).Finish());
  }
  GgufWriter llama3 = GgufNetwork("llama");
  llama3.AddTensor("rope_freqs.weight", TensorType::kF32, {2}, std::string("\0\0\x80?\0\0\0A", 8));
  Write(folder / "llama_rope_freqs", llama3.Finish());
  GgufWriter long_rope = GgufNetwork("phi3");
  long_rope.AddU32("phi3.rope.scaling.original_context_length", 16);
  long_rope.AddF32("phi3.rope.scaling.attn_factor", 1.2f);
  for (const std::string list : {"short", "long"}) {
    long_rope.AddTensor(absl::StrCat("rope_factors_", list, ".weight"), TensorType::kF32, {2},
                        std::string("\0\0\x80?\0\0\x80?", 8));
  }
  Write(folder / "phi3_long_rope", long_rope.Finish());
  for (const std::string pre : {"smollm", "llama-bpe", "qwen2", "gpt-4o"}) {
    Write(folder / absl::StrCat("tokenizer_", pre), GgufTokenizer(pre));
  }
  Write(folder / "every_type", GgufOfEveryType());
  Write(folder / "tiny_model",
        TinyModel({.num_layers = 1, .hidden = 32, .num_q_heads = 1, .num_kv_heads = 1, .ffn = 32})
            .Finish());
}

void WriteSafetensors(const fs::path& folder) {
  SafetensorsWriter writer;
  writer.AddF32("matrix", {2, 1}, {1, 2});
  writer.AddTensor("half", "F16", {2}, "0123");
  writer.AddTensor("brain", "BF16", {1, 1}, "ab");
  Write(folder / "three_tensors", writer.Finish());
  SafetensorsWriter scalar;
  scalar.AddF32("s", {}, {1});
  Write(folder / "scalar", scalar.Finish());
  Write(folder / "no_tensor", SafetensorsWriter::File("{}", ""));
  Write(folder / "index",
        R"({"metadata":{"total_size":8},"weight_map":{"a":"a.safetensors","b":"b.safetensors"}})");
}

void WriteConfigs(const fs::path& folder) {
  const std::pair<const char*, std::string> configs[] = {
      {"phi4_mini_reasoning", Phi4MiniReasoningConfig()},
      {"phi4_mini_instruct", Phi4MiniInstructConfig()},
      {"llama32", Llama32Config()},
      {"r1_distill_llama", R1DistillLlamaConfig()},
      {"smollm2", SmolLm2Config()},
      {"r1_distill_qwen", R1DistillQwenConfig()},
      {"bespoke_stratos", BespokeStratosConfig()},
      {"openthinker", OpenThinkerConfig()},
      {"generation", R"({"do_sample":true,"temperature":0.6,"top_k":20,"top_p":0.95,
 "repetition_penalty":1.05,"eos_token_id":[1,2],"bos_token_id":1,"transformers_version":"4"})"},
      {"tiny", TinyHfModel({.architecture = "phi3", .original_context_tokens = 16})["config.json"]},
  };
  for (const auto& [name, text] : configs) Write(folder / name, text);
}

std::string Frame(int type, int flags, int stream, const std::string& payload) {
  std::string frame(2, '\0');
  frame.push_back(static_cast<char>(payload.size()));
  frame.push_back(static_cast<char>(type));
  frame.push_back(static_cast<char>(flags));
  frame.append(3, '\0');
  frame.push_back(static_cast<char>(stream));
  return frame + payload;
}

// After a byte for the size of the pieces: calls as they are made, and a message that is too long.
void WriteRequests(const fs::path& folder) {
  const std::string settings = Frame(4, 0, 0, "");
  const std::string short_message = std::string(4, '\0') + "\3abc";
  const std::string long_message = std::string(2, '\0') + "\7\1\1abc";
  Write(folder / "calls",
        "\5" + settings + Frame(1, 4, 1, "headers") + Frame(0, 0, 1, short_message) +
            Frame(0, 1, 1, "") + Frame(1, 0, 3, "head") + Frame(9, 4, 3, "ers") +
            Frame(0, 0, 3, long_message) + Frame(0, 0, 3, "content") + Frame(3, 0, 3, "code"));
  Write(folder / "padding", "\2" + Frame(0, 8, 1, "\3" + short_message + "pad") +
                                Frame(0, 8, 1, "\377") + Frame(0, 0, 1, long_message));
  std::string endless = "\1" + Frame(1, 0, 1, "h");
  for (int i = 0; i < 20; ++i) endless += Frame(9, 0, 1, "h");
  Write(folder / "headers", endless);
}

v1::GenerateRequest ChatRequest() {
  v1::GenerateRequest request;
  request.set_model("tiny");
  v1::Chat& chat = *request.mutable_chat();
  v1::Message& question = *chat.add_messages();
  question.set_role("user");
  question.set_content("K\u00e4se?");
  v1::ToolCall& call = *chat.add_messages()->add_tool_calls();
  call.set_id("1");
  call.set_name("look");
  call.set_arguments("{}");
  v1::Tool& tool = *chat.add_tools();
  tool.set_name("look");
  tool.set_parameters(R"({"type":"object"})");
  request.mutable_sampling()->set_temperature(0.5f);
  request.mutable_sampling()->set_seed(1);
  request.mutable_reasoning()->set_split(true);
  request.add_stop("a");
  request.add_stop("bc");
  return request;
}

worker::v1::SessionRequest SubmitCommand() {
  worker::v1::SessionRequest command;
  worker::v1::Submit& submit = *command.mutable_submit();
  submit.set_request_id(1);
  for (const int id : {1, 200, 40'000}) submit.add_prompt_token_ids(id);
  submit.add_eos_token_ids(2);
  submit.set_deadline_seconds(0.5);
  return command;
}

worker::v1::SessionResponse StepResponse() {
  worker::v1::SessionResponse response;
  worker::v1::RequestEvent& event = *response.mutable_step()->add_requests();
  event.set_request_id(1);
  event.add_token_ids(300);
  event.add_log_probs(-0.5f);
  event.add_log_probs(-2);
  event.mutable_finished()->set_queue_seconds(1);
  return response;
}

void WriteMessages(const fs::path& folder) {
  v1::GenerateRequest tokens;
  for (int i = 0; i < 40; ++i) tokens.mutable_tokens()->add_ids(i * i * i);
  Write(folder / "tokens", tokens.SerializeAsString());
  Write(folder / "chat", ChatRequest().SerializeAsString());
  Write(folder / "submit", SubmitCommand().SerializeAsString());
  Write(folder / "step", StepResponse().SerializeAsString());
  const std::pair<const char*, std::string> written[] = {
      {"unpacked_tokens", "\x22\x05\x08\x01\x08\xac\x02"},
      {"unknown_number_and_text", "\xc0\x3e\x01\x7a\x02xy"},
      {"fixed_widths",
       "\x79"
       "12345678\x7d"
       "1234"},
      {"group", "\x7b\x08\x01\x7c"},
      {"text_not_utf8", "\x12\x02\xff\xfe"},
      {"empty_messages", std::string("\x1a\x08\x0a\x00\x0a\x00\x12\x00\x0a\x00", 10)},
  };
  for (const auto& [name, bytes] : written) Write(folder / name, bytes);
}

}  // namespace
}  // namespace phalanx

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: write_seeds CORPUS_FOLDER\n";
    return EXIT_FAILURE;
  }
  const std::filesystem::path corpus = argv[1];
  phalanx::WriteGguf(corpus / "gguf");
  phalanx::WriteSafetensors(corpus / "safetensors");
  phalanx::WriteConfigs(corpus / "config");
  phalanx::WriteRequests(corpus / "request_filter");
  phalanx::WriteMessages(corpus / "message_cost");
  return EXIT_SUCCESS;
}
