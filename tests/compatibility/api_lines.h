// A .proto file as lines of text, each of which programs of callers may depend on.
#ifndef PHALANX_TESTS_COMPATIBILITY_API_LINES_H_
#define PHALANX_TESTS_COMPATIBILITY_API_LINES_H_

#include <google/protobuf/descriptor.h>

#include <string>
#include <vector>

namespace phalanx {

// In order: a line for each message, field, enum, value, service and method, such as
// "field phalanx.v1.Sampling 1 temperature: optional float".
std::vector<std::string> ApiLines(const google::protobuf::FileDescriptor& file);

// The lines that `current` lacks of `released`: what was removed, renamed, renumbered or given
// another type.
std::vector<std::string> MissingLines(const std::vector<std::string>& released,
                                      const std::vector<std::string>& current);

}  // namespace phalanx

#endif  // PHALANX_TESTS_COMPATIBILITY_API_LINES_H_
