// The flags of the commands that ask for answers; for command_line.cc.
#ifndef PHALANX_CLIENT_ANSWER_FLAGS_H_
#define PHALANX_CLIENT_ANSWER_FLAGS_H_

#include "base/options.h"
#include "client/command_values.h"

namespace phalanx {

// Each adds its flags to `command`, which write to `line` when a command line is parsed.
void AddRequestId(CLI::App& command, CommandLine* line);
// A flag for each sampling parameter. The server checks the values.
void AddSamplingParameters(CLI::App& command, CommandLine* line);
// System message, sampling parameters and what else shapes an answer.
void AddSampling(CLI::App& command, CommandLine* line);
// --json must be there before.
void AddLogProbs(CLI::App& command, CommandLine* line);
// How the prompt is made of the text.
// How many tokens come at a time.
void AddStreamInterval(CLI::App& command, CommandLine* line);
void AddPromptForm(CLI::App& command, CommandLine* line);
CLI::Option* AddContinue(CLI::App& command, CommandLine* line);
void AddAllowSpecial(CLI::App& command, CommandLine* line);
CLI::Option* AddTools(CLI::App& command, CommandLine* line);
CLI::Option* AddToolUse(CLI::App& command, CommandLine* line);
void AddConstraint(CLI::App& command, CommandLine* line);

}  // namespace phalanx

#endif  // PHALANX_CLIENT_ANSWER_FLAGS_H_
