// Tells from the bytes of a protobuf message what it would take in memory: two bytes on the wire
// can become an object of a hundred.
#ifndef PHALANX_RPC_MESSAGE_COST_H_
#define PHALANX_RPC_MESSAGE_COST_H_

#include <google/protobuf/message.h>

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace phalanx {

struct MessageCost {
  // An estimate of what parsing allocates: objects, elements and texts. The spare room of growing
  // lists and texts is not counted, so the parsed message takes (SpaceUsedLong) at most twice this
  // plus what an empty message takes. tests/fuzz/message_cost_fuzz.cc checks that.
  int64_t bytes = 0;
  // The first field that the message's type does not know, by the names of those around it and its
  // number ("sampling.1000"), or by its name if only its type on the wire is another one
  // ("sampling.seed"). Empty if there is none.
  std::string unknown_field = {};
};

// Walks `bytes`, a message of the type of `message` (whose content does not matter), without
// allocating anything that grows with them, and stops when the cost passes `max_cost`. Fields that
// repeat, at any depth, and unknown fields are counted as often as they occur.
//
// INVALID_ARGUMENT, with a text for the sender, naming the field ("chat.messages") at which the
// limit was passed, or if the bytes are malformed. Malformed is what protobuf's parser refuses,
// except texts that are not UTF-8, which pass here, and groups, which proto3 does not have and
// which fail here.
absl::StatusOr<MessageCost> MeasureMessage(const google::protobuf::Message& message,
                                           absl::string_view bytes, int64_t max_cost);

}  // namespace phalanx

#endif  // PHALANX_RPC_MESSAGE_COST_H_
