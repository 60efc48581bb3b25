// What a protobuf message would take in memory, told from its bytes: two bytes on the wire can be
// an object of a hundred.
#ifndef PHALANX_RPC_MESSAGE_COST_H_
#define PHALANX_RPC_MESSAGE_COST_H_

#include <google/protobuf/message.h>

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace phalanx {

struct MessageCost {
  // An estimate of what parsing allocates: objects, elements and texts. The slack of growing lists
  // and texts is left out: the parsed message takes (SpaceUsedLong) at most twice this, and what an
  // empty one takes. tests/fuzz/message_cost_fuzz.cc holds it to that.
  int64_t bytes = 0;
  // Whether there are fields that the message's type does not know.
  bool has_unknown_fields = false;
};

// Walks `bytes`, a message of the type of `message` (which is only looked at), without allocating
// anything that grows with them, and stops when the cost passes `max_cost`: fields that repeat, at
// any depth, and unknown ones are counted as often as they occur. The errors are for the sender:
// INVALID_ARGUMENT naming the field ("chat.messages") at which the limit was passed, or if the
// bytes are malformed: what protobuf's parser refuses, but for texts that are not UTF-8, and
// groups, which proto3 does not have.
absl::StatusOr<MessageCost> MeasureMessage(const google::protobuf::Message& message,
                                           absl::string_view bytes, int64_t max_cost);

}  // namespace phalanx

#endif  // PHALANX_RPC_MESSAGE_COST_H_
