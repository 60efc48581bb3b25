#include "client/inspect_command.h"

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "base/options.h"
#include "client/exit_code.h"
#include "client/inspection_format.h"
#include "client/testing/pipe_terminal.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/testing/hf_folder.h"
#include "model/testing/tiny_hf_model.h"
#include "model/testing/tiny_model.h"
#include "nlohmann/json.hpp"

namespace phalanx {
namespace {

using ::nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

struct Result {
  int exit_code = -1;
  std::string output;
  std::string errors;
};

CommandLine LineFor(const std::string& path) {
  CommandLine line;
  line.command = Command::kInspect;
  line.path = path;
  line.memory_bytes = uint64_t{1} << 30;
  return line;
}

Result RunInspect(const CommandLine& line) {
  PipeTerminal pipes;
  Result result;
  result.exit_code = Inspect(line, pipes.get());
  result.output = pipes.Output();
  result.errors = pipes.Errors();
  return result;
}

json JsonOf(CommandLine line, int exit_code = kExitOk) {
  line.json = true;
  const Result result = RunInspect(line);
  EXPECT_EQ(result.exit_code, exit_code) << result.output << result.errors;
  EXPECT_THAT(result.errors, IsEmpty());
  return json::parse(result.output);
}

TEST(InspectTest, TellsPeopleWhatAModelIs) {
  CommandLine line = LineFor(WriteTinyModel("tiny.gguf"));
  line.tp = 2;
  const Result result = RunInspect(line);
  EXPECT_EQ(result.exit_code, kExitOk);
  EXPECT_THAT(
      result.output,
      AllOf(
          HasSubstr("model         tiny\n"), HasSubstr("architecture  llama\n"),
          HasSubstr("attention     6 query heads on 3 KV heads of 32\n"),
          HasSubstr("byte-level BPE, 272 tokens, of these 3 control; 13 merges\n"),
          HasSubstr("splitting     single digits, then GPT-2\n"),
          HasSubstr("ends of turn  0 <|endoftext|>, 2 <|im_end|>\n"),
          HasSubstr("\n   0        4         2 "), HasSubstr("\n   1        2         1 "),
          HasSubstr("With 1.00 GiB for each rank, the longest context is 256 tokens, the model's"),
          HasSubstr("Nothing would be refused.\n")));
}

TEST(InspectTest, TellsMachinesTheSameInBytes) {
  CommandLine line = LineFor(WriteTinyModel("tiny.gguf"));
  line.tp = 2;
  const json found = JsonOf(line);
  EXPECT_EQ(found["format"], "gguf");
  EXPECT_EQ(found["architecture"], "llama");
  EXPECT_EQ(found["network"]["kv_heads"], 3);
  EXPECT_EQ(found["tensors"]["types"], json({{"F32", 5}, {"Q4_1", 14}, {"Q8_0", 1}}));
  // Embedding, two layers of q, k, v, out, gate, up, down and two norms, the last norm.
  EXPECT_EQ(found["parameters"], 272 * 96 + 2 * (96 * (2 * 192 + 2 * 96 + 3 * 160) + 2 * 96) + 96);
  EXPECT_EQ(found["tokenizer"]["split_rules"], json({"single digits", "GPT-2"}));
  EXPECT_EQ(found["tokenizer"]["eos"], json({{"id", 2}, {"text", "<|im_end|>"}}));
  EXPECT_GT(found["chat_template"]["bytes"], 0);
  EXPECT_EQ(found["default_sampling"]["temperature"], 0.0);
  EXPECT_EQ(found["kv_bytes_per_token"], 2 * 3 * (32 + 32) * 2);
  ASSERT_EQ(found["ranks"].size(), 2u);
  EXPECT_EQ(found["ranks"][0]["kv_bytes_per_token"], 2 * 2 * (32 + 32) * 2);
  EXPECT_EQ(found["ranks"][1]["query_heads"], 2);
  EXPECT_EQ(found["longest_context_tokens"], 256);
  EXPECT_EQ(found["device"], "cpu");
  EXPECT_EQ(found["kv_cache_tokens"], nullptr);
  EXPECT_EQ(found["refused"], json::array());
}

TEST(InspectTest, TheRankWithTheLeastRoomLimitsTheContext) {
  CommandLine line = LineFor(WriteTinyModel("tiny.gguf"));
  line.tp = 2;
  const json roomy = JsonOf(line);
  const int64_t block = 16 * roomy["ranks"][0]["kv_bytes_per_token"].get<int64_t>();
  line.memory_bytes = roomy["ranks"][0]["weight_bytes"].get<int64_t>() + 3 * block + 1;
  const json found = JsonOf(line);
  EXPECT_EQ(found["ranks"][0]["longest_context_tokens"], 48);
  EXPECT_GT(found["ranks"][1]["longest_context_tokens"], 48);
  EXPECT_EQ(found["longest_context_tokens"], 48);
}

CommandLine LineForGpus(const std::string& path) {
  CommandLine line = LineFor(path);
  line.memory_bytes.reset();
  line.device = "cuda";
  line.gpu_bytes = uint64_t{1} << 30;
  return line;
}

TEST(InspectTest, TellsWhatFitsOnGpus) {
  CommandLine line = LineForGpus(WriteTinyModel("tiny.gguf"));
  const json found = JsonOf(line);
  EXPECT_EQ(found["device"], "cuda");
  EXPECT_EQ(found["memory_bytes_per_rank"], 1 << 30);
  // Two layers of three heads of 32, keys and values, in bfloat16.
  EXPECT_EQ(found["kv_bytes_per_token"], 2 * 3 * (32 + 32) * 2);
  const json& rank = found["ranks"][0];
  EXPECT_EQ(rank["reserved_bytes"], 600 << 20);
  const int64_t block = 16 * found["kv_bytes_per_token"].get<int64_t>();
  const int64_t room = (1 << 30) - rank["weight_bytes"].get<int64_t>() -
                       rank["step_bytes"].get<int64_t>() - rank["reserved_bytes"].get<int64_t>();
  const int64_t tokens = (room / block - 1) * 16;
  EXPECT_EQ(found["kv_cache_tokens"], tokens);
  EXPECT_EQ(found["longest_context_tokens"], 256);
  // The model's context is shorter than all the lengths that are asked for.
  EXPECT_EQ(found["sequences_that_fit"], json::object());
  EXPECT_THAT(RunInspect(line).output,
              AllOf(HasSubstr("a token in all ranks together, bf16\n"),
                    HasSubstr("With 1.00 GiB on each GPU, the KV cache of the group holds " +
                              std::to_string(tokens) + " tokens."),
                    HasSubstr("Nothing would be refused.\n")));
}

TEST(InspectTest, TellsWhatKeysAndValuesTakeInOtherTypes) {
  CommandLine on_cpu = LineFor(WriteTinyModel("tiny.gguf"));
  CommandLine on_gpu = LineForGpus(*on_cpu.path);
  EXPECT_EQ(JsonOf(on_cpu)["kv_cache_dtype"], "bf16");
  EXPECT_EQ(JsonOf(on_gpu)["kv_cache_dtype"], "bf16");
  const int64_t bf16_tokens = JsonOf(on_gpu)["kv_cache_tokens"].get<int64_t>();
  for (CommandLine* const line : {&on_cpu, &on_gpu}) {
    line->kv_cache_dtype = "int8";
    // A byte for each number, and a scale for the key and the value of each of six heads.
    EXPECT_EQ(JsonOf(*line)["kv_bytes_per_token"], 2 * 3 * (32 + 32 + 2 * 4));
    EXPECT_EQ(JsonOf(*line)["kv_cache_dtype"], "int8");
    EXPECT_THAT(RunInspect(*line).output, HasSubstr("a token in all ranks together, int8\n"));
  }
  on_gpu.kv_cache_dtype = "fp8";
  EXPECT_NEAR(JsonOf(on_gpu)["kv_cache_tokens"].get<double>(),
              static_cast<double>(bf16_tokens) * 128 / 72, 33);
  on_cpu.kv_cache_dtype = "fp8";
  const Result refused = RunInspect(on_cpu);
  EXPECT_EQ(refused.exit_code, kExitUsage);
  EXPECT_THAT(refused.errors, HasSubstr("a CPU keeps keys and values in f32, bf16 or int8"));
}

TEST(InspectTest, CountsTheSequencesThatFitOnGpus) {
  const std::string path = WriteTinyHfModel("tiny-long", {.context_tokens = 40000});
  const json found = JsonOf(LineForGpus(path));
  const int64_t tokens = found["kv_cache_tokens"].get<int64_t>();
  EXPECT_EQ(found["sequences_that_fit"],
            json({{"4096", tokens / 4096}, {"32768", tokens / 32768}}));
  EXPECT_THAT(RunInspect(LineForGpus(path)).output,
              AllOf(HasSubstr(std::to_string(tokens / 32768) + " sequences of 32768 tokens\n"),
                    Not(HasSubstr("131072"))));
}

TEST(InspectTest, TheGpuWithTheLeastRoomLimitsTheGroup) {
  CommandLine line = LineForGpus(WriteTinyModel("tiny.gguf"));
  line.tp = 2;
  const json found = JsonOf(line);
  EXPECT_EQ(found["ranks"][0]["reserved_bytes"], 900 << 20);
  // Two of the three KV heads.
  EXPECT_EQ(found["kv_cache_tokens"], found["ranks"][0]["kv_cache_tokens"]);
  EXPECT_GT(found["ranks"][1]["kv_cache_tokens"], found["ranks"][0]["kv_cache_tokens"]);
}

TEST(InspectTest, WeightsThatDoNotFitOnAGpuAreRefused) {
  CommandLine line = LineForGpus(WriteTinyModel("tiny.gguf"));
  line.gpu_bytes = uint64_t{600} << 20;
  const json found = JsonOf(line, kExitInvalidRequest);
  EXPECT_EQ(found["kv_cache_tokens"], 0);
  ASSERT_EQ(found["refused"].size(), 1u);
  EXPECT_THAT(found["refused"][0].get<std::string>(),
              AllOf(HasSubstr("rank 0: weights of"), HasSubstr("beside them, leave no room")));
}

TEST(InspectTest, HeadsThatAGpuDoesNotTakeAreRefused) {
  const std::string path = WriteTinyHfModel("tiny-heads", {.head_dim = 258});
  EXPECT_THAT(JsonOf(LineFor(path))["refused"], IsEmpty());
  const json found = JsonOf(LineForGpus(path), kExitInvalidRequest);
  ASSERT_EQ(found["refused"].size(), 1u);
  EXPECT_THAT(found["refused"][0].get<std::string>(), HasSubstr("heads of 258 dimensions"));
}

TEST(InspectTest, MemoryOfCpusSaysNothingOfGpus) {
  CommandLine line = LineForGpus(WriteTinyModel("tiny.gguf"));
  line.memory_bytes = uint64_t{1} << 30;
  EXPECT_EQ(RunInspect(line).exit_code, kExitUsage);
  line.device = "cpu";
  const Result result = RunInspect(line);
  EXPECT_EQ(result.exit_code, kExitUsage);
  EXPECT_THAT(result.errors, HasSubstr("--gpu_memory for --device cuda"));
}

TEST(InspectTest, WeightsThatDoNotFitAreRefused) {
  CommandLine line = LineFor(WriteTinyModel("tiny.gguf"));
  line.memory_bytes = 1 << 10;
  const json found = JsonOf(line, kExitInvalidRequest);
  EXPECT_EQ(found["longest_context_tokens"], 0);
  ASSERT_EQ(found["refused"].size(), 1u);
  EXPECT_THAT(found["refused"][0].get<std::string>(), HasSubstr("rank 0: weights of"));
}

TEST(InspectTest, TooManyRanksAreRefusedAndTheRestIsShown) {
  CommandLine line = LineFor(WriteTinyModel("tiny.gguf"));
  line.tp = 4;
  const Result result = RunInspect(line);
  EXPECT_EQ(result.exit_code, kExitInvalidRequest);
  EXPECT_THAT(result.output,
              AllOf(HasSubstr("architecture  llama"), Not(HasSubstr("LONGEST CONTEXT")),
                    HasSubstr("Would be refused:\n  a model of 3 KV heads cannot be split over 4 "
                              "ranks; at most 3\n")));
  EXPECT_EQ(JsonOf(line, kExitInvalidRequest)["ranks"], nullptr);
}

TEST(InspectTest, FoldersAreModelsToo) {
  const std::string path =
      WriteTinyHfModel("tiny-phi", {.architecture = "phi3", .original_context_tokens = 64});
  const json found = JsonOf(LineFor(path), kExitOk);
  EXPECT_EQ(found["format"], "huggingface");
  EXPECT_EQ(found["name"], "tiny-phi");
  EXPECT_EQ(found["network"]["original_context_tokens"], 64);
  EXPECT_EQ(found["network"]["rope_lists"], 2);
  EXPECT_EQ(found["ranks"].size(), 1u);
  EXPECT_NE(found["tokenizer"], nullptr);
  EXPECT_TRUE(found["refused"].empty());
}

TEST(InspectTest, AFolderWithoutATokenizerIsRefused) {
  const std::string path = WriteTinyHfModel("tiny-mute");
  ASSERT_EQ(std::remove((path + "/tokenizer.json").c_str()), 0);
  const json found = JsonOf(LineFor(path), kExitInvalidRequest);
  EXPECT_EQ(found["tokenizer"], nullptr);
  ASSERT_EQ(found["refused"].size(), 1u);
  EXPECT_THAT(found["refused"][0].get<std::string>(), HasSubstr("tiny-mute/tokenizer.json"));
}

TEST(InspectTest, AnUnknownArchitectureIsShownAsFarAsItCanBeRead) {
  std::string file = TinyModel({}).Finish();
  const size_t value = file.find("llama", file.find("general.architecture"));
  file.replace(value, 5, "mamba");
  const std::string gguf = WriteTempFolder("mamba", {{"mamba.gguf", file}}) + "/mamba.gguf";
  const json found = JsonOf(LineFor(gguf), kExitInvalidRequest);
  EXPECT_EQ(found["architecture"], "mamba");
  EXPECT_EQ(found["network"], nullptr);
  EXPECT_EQ(found["ranks"], nullptr);
  EXPECT_EQ(found["tensors"]["count"], 20);
  EXPECT_EQ(found["tokenizer"]["tokens"], 272);
  ASSERT_EQ(found["refused"].size(), 1u);
  EXPECT_THAT(found["refused"][0].get<std::string>(),
              HasSubstr("general.architecture mamba is not supported; these are: llama"));

  auto files = TinyHfModel({});
  files["config.json"] = R"({"model_type": "gpt_neox", "architectures": ["GPTNeoXForCausalLM"]})";
  const json folder = JsonOf(LineFor(WriteTempFolder("neox", files)), kExitInvalidRequest);
  EXPECT_EQ(folder["architecture"], "gpt_neox");
  EXPECT_GT(folder["parameters"], 0);
}

TEST(InspectTest, EveryReasonIsTold) {
  GgufWriter writer = TinyModel({});
  writer.AddTensor("blk.0.attn_q.bias", TensorType::kF32, {192}, std::string(192 * 4, '\0'));
  writer.AddTensor("adapter", TensorType::kF32, {4}, std::string(16, '\0'));
  CommandLine line = LineFor(writer.WriteToTemp("extra.gguf"));
  line.tp = 4;
  std::vector<std::string> refused = JsonOf(line, kExitInvalidRequest)["refused"];
  EXPECT_THAT(refused, ElementsAre(HasSubstr("at most 3"), HasSubstr("attn_q.bias"),
                                   HasSubstr("adapter is not supported")));
}

TEST(InspectTest, AdviceThatIsNotFollowedIsNamed) {
  auto files = TinyHfModel({});
  files["generation_config.json"] = R"({"repetition_penalty": 1.05, "max_new_tokens": 99})";
  const std::string served = WriteTempFolder("penalty", files);
  EXPECT_THAT(RunInspect(LineFor(served)).output,
              AllOf(HasSubstr("answers       at most 99 tokens by default\n"),
                    HasSubstr("repetition_penalty 1.05")));
  const json found = JsonOf(LineFor(served));
  EXPECT_EQ(found["unfollowed_defaults"], json::object());
  EXPECT_EQ(found["default_max_new_tokens"], 99);
  EXPECT_EQ(found["default_max_length"], nullptr);

  files["generation_config.json"] = R"({"top_h": 0.05})";
  const json refused = JsonOf(LineFor(WriteTempFolder("top_h", files)), kExitInvalidRequest);
  EXPECT_EQ(refused["unfollowed_defaults"], json({{"top_h", "0.05"}}));
  ASSERT_EQ(refused["refused"].size(), 1u);
  EXPECT_THAT(refused["refused"][0].get<std::string>(),
              AllOf(HasSubstr("top_h/generation_config.json: top_h: 0.05"),
                    HasSubstr("--ignore_generation_config top_h")));
}

TEST(InspectTest, WhereThereIsNoModelIsAnError) {
  const Result result = RunInspect(LineFor("/nowhere/model.gguf"));
  EXPECT_EQ(result.exit_code, kExitInvalidRequest);
  EXPECT_THAT(result.output, IsEmpty());
  EXPECT_THAT(result.errors,
              AllOf(HasSubstr("phalanx: NOT_FOUND: /nowhere/model.gguf"), Not(HasSubstr("hint"))));
}

TEST(InspectTest, AFileThatIsNoModelIsRefused) {
  const std::string folder = WriteTempFolder("junk", {{"junk.gguf", "GGUF is not this"}});
  const json found = JsonOf(LineFor(folder + "/junk.gguf"), kExitInvalidRequest);
  EXPECT_EQ(found["architecture"], nullptr);
  EXPECT_EQ(found["refused"].size(), 1u);
}

TEST(InspectTest, OutputThatNobodyReadsEndsIt) {
  PipeTerminal pipes;
  pipes.CloseOutputReader();
  EXPECT_EQ(Inspect(LineFor(WriteTinyModel("tiny.gguf")), pipes.get()), kExitBrokenPipe);
}

TEST(InspectionFormatTest, UnknownSplitRulesAreTheirPattern) {
  EXPECT_EQ(SplitRuleName(R"(\p{N}{1,5})"), R"(\p{N}{1,5})");
}

}  // namespace
}  // namespace phalanx
