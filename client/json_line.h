// Writes JSON as all commands print it: one object a line.
#ifndef PHALANX_CLIENT_JSON_LINE_H_
#define PHALANX_CLIENT_JSON_LINE_H_

#include <string>

#include "nlohmann/json.hpp"

namespace phalanx {

// A JSON value that keeps the order in which fields are added.
using Json = nlohmann::ordered_json;

// Returns the text without a newline at its end. Text that is not UTF-8 gets replacement
// characters.
std::string JsonLine(const Json& json);

// Returns 0.1 for 0.1f, not 0.10000000149011612: the number of seven digits, if that gives the same
// float.
Json JsonNumber(float value);

}  // namespace phalanx

#endif  // PHALANX_CLIENT_JSON_LINE_H_
