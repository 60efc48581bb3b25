// What the ranks of NetCommunicator put before their data, so that ranks that disagree about a
// collective find out instead of taking one's data for the other's.
#ifndef PHALANX_WORKER_COMM_NET_FRAME_H_
#define PHALANX_WORKER_COMM_NET_FRAME_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace phalanx {

enum class NetCollective : uint32_t {
  kBarrier = 1,
  kBroadcast,
  kGatherWords,
  kSumF32,
  kSumBF16,
  kSumWords,
  kMaxWords,
};

// As it lies on the wire: in host order, since all ranks of a group run the same build. All ranks
// have the same values in the same exchange.
struct NetFrame {
  // Names the forming of the group.
  uint64_t group = 0;
  // Collectives of the communicator, counted from 1.
  uint64_t sequence = 0;
  // Of one rank's data in the whole collective. How much of it follows is plain from that.
  uint64_t bytes = 0;
  NetCollective kind = NetCollective::kBarrier;
  // Exchanges of this collective, counted from 0.
  uint32_t exchange = 0;
};
static_assert(sizeof(NetFrame) == 32);

// "collective 17, a sum of 2304 bytes of float32". A kind that does not exist is told as its
// number.
std::string DescribeFrame(const NetFrame& frame);

// INTERNAL, telling what both ranks do, unless `theirs`, which `peer` sent, is as `mine`.
absl::Status CheckFrame(const NetFrame& mine, const NetFrame& theirs, int peer);

}  // namespace phalanx

#endif  // PHALANX_WORKER_COMM_NET_FRAME_H_
