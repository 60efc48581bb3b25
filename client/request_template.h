// Makes the requests that a command line asks for.
#ifndef PHALANX_CLIENT_REQUEST_TEMPLATE_H_
#define PHALANX_CLIENT_REQUEST_TEMPLATE_H_

#include <string>

#include "client/command_values.h"
#include "phalanx/v1/inference.pb.h"

namespace phalanx {

// The model, sampling and length that the command line asks for, without an input.
v1::GenerateRequest RequestTemplate(const CommandLine& command_line);

// The conversation so far: the system message if there is one, and the template's arguments.
v1::Chat NewConversation(const CommandLine& command_line);

// Adds the user's message and, if the answer is to go on from a text, the assistant's.
void AddQuestion(const CommandLine& command_line, const std::string& text, v1::Chat* chat);

void AddMessage(const std::string& role, const std::string& content, v1::Chat* chat);

}  // namespace phalanx

#endif  // PHALANX_CLIENT_REQUEST_TEMPLATE_H_
