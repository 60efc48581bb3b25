#include "worker/comm/net_frame.h"

#include "absl/strings/str_cat.h"

namespace phalanx {
namespace {

std::string DescribeData(const NetFrame& frame) {
  switch (frame.kind) {
    case NetCollective::kBarrier:
      return "a barrier";
    case NetCollective::kBroadcast:
      return absl::StrCat("a broadcast of ", frame.bytes, " bytes");
    case NetCollective::kGatherWords:
      return absl::StrCat("a gathering of ", frame.bytes, " bytes of words");
    case NetCollective::kSumF32:
      return absl::StrCat("a sum of ", frame.bytes, " bytes of float32");
    case NetCollective::kSumBF16:
      return absl::StrCat("a sum of ", frame.bytes, " bytes of bfloat16");
    case NetCollective::kSumWords:
      return absl::StrCat("a sum of ", frame.bytes, " bytes of words");
    case NetCollective::kMaxWords:
      return absl::StrCat("the highest of ", frame.bytes, " bytes of words");
  }
  return absl::StrCat("an unknown collective ", static_cast<uint32_t>(frame.kind), " of ",
                      frame.bytes, " bytes");
}

}  // namespace

std::string DescribeFrame(const NetFrame& frame) {
  std::string text = absl::StrCat("collective ", frame.sequence, ", ", DescribeData(frame));
  if (frame.exchange > 0) absl::StrAppend(&text, ", exchange ", frame.exchange);
  return text;
}

absl::Status CheckFrame(const NetFrame& mine, const NetFrame& theirs, int peer) {
  if (theirs.group != mine.group) {
    return absl::InternalError(
        absl::StrCat("rank ", peer, " sent a message that is not of this forming of the group"));
  }
  if (theirs.sequence == mine.sequence && theirs.kind == mine.kind && theirs.bytes == mine.bytes &&
      theirs.exchange == mine.exchange) {
    return absl::OkStatus();
  }
  return absl::InternalError(absl::StrCat("the ranks disagree: rank ", peer, " is at ",
                                          DescribeFrame(theirs), ", this one at ",
                                          DescribeFrame(mine)));
}

}  // namespace phalanx
