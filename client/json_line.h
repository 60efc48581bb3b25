// JSON as all commands print it: one object a line.
#ifndef PHALANX_CLIENT_JSON_LINE_H_
#define PHALANX_CLIENT_JSON_LINE_H_

#include <string>

#include "nlohmann/json.hpp"

namespace phalanx {

// Keeps the order in which fields are added.
using Json = nlohmann::ordered_json;

// Without a newline at its end. Text that is not UTF-8 gets replacement characters.
std::string JsonLine(const Json& json);

// Shortest digits that give the same float: 0.1, not 0.10000000149011612.
Json JsonNumber(float value);

}  // namespace phalanx

#endif  // PHALANX_CLIENT_JSON_LINE_H_
