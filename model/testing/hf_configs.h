// config.json as the makers of real models publish it.
#ifndef PHALANX_MODEL_TESTING_HF_CONFIGS_H_
#define PHALANX_MODEL_TESTING_HF_CONFIGS_H_

#include <string>

namespace phalanx {

std::string Phi4MiniReasoningConfig();
// With the spelling of transformers 5.
std::string Phi4MiniInstructConfig();
std::string Llama32Config();         // Llama-3.2-3B-Instruct
std::string R1DistillLlamaConfig();  // DeepSeek-R1-Distill-Llama-8B
std::string SmolLm2Config();         // SmolLM2-135M-Instruct
std::string R1DistillQwenConfig();   // DeepSeek-R1-Distill-Qwen-7B
std::string BespokeStratosConfig();  // Bespoke-Stratos-7B
std::string OpenThinkerConfig();     // OpenThinker-7B

}  // namespace phalanx

#endif  // PHALANX_MODEL_TESTING_HF_CONFIGS_H_
