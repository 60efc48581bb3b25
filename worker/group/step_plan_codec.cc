#include "worker/group/step_plan_codec.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status.h"

namespace phalanx {
namespace {

// FNV-1a over 64-bit words. A product carries bits upwards only, so the high half is folded back
// into the low one.
uint64_t Mix(uint64_t hash, uint64_t word) {
  hash = (hash ^ word) * 0x100000001b3;
  return hash ^ (hash >> 32);
}

uint64_t Mix(uint64_t hash, absl::string_view bytes) {
  // The size too: else a word could move from one block to the next and nobody would notice.
  hash = Mix(hash, bytes.size());
  while (!bytes.empty()) {
    uint64_t word = 0;
    const size_t size = std::min(bytes.size(), sizeof(word));
    std::memcpy(&word, bytes.data(), size);
    hash = Mix(hash, word);
    bytes.remove_prefix(size);
  }
  return hash;
}

uint64_t HashAfter(uint64_t hash, uint64_t step, absl::string_view forward,
                   absl::string_view sampling) {
  return Mix(Mix(Mix(hash, step), forward), sampling);
}

}  // namespace

void StepSequence::Encode(const Step& step, worker::v1::StepPlan* plan) {
  const absl::string_view forward = step.forward.bytes();
  const absl::string_view sampling = step.sampling.bytes();
  hash_ = HashAfter(hash_, next_step_, forward, sampling);
  plan->set_epoch(epoch_);
  plan->set_step(next_step_++);
  plan->set_hash(hash_);
  plan->set_forward(forward.data(), forward.size());
  plan->set_sampling(sampling.data(), sampling.size());
}

absl::StatusOr<Step> StepSequence::Decode(const worker::v1::StepPlan& plan) {
  if (plan.epoch() != epoch_ || plan.step() != next_step_) {
    return absl::DataLossError(absl::StrCat("expected step ", next_step_, " of epoch ", epoch_,
                                            ", got step ", plan.step(), " of epoch ",
                                            plan.epoch()));
  }
  const uint64_t hash = HashAfter(hash_, next_step_, plan.forward(), plan.sampling());
  if (hash != plan.hash()) {
    return absl::DataLossError(absl::StrCat("the plans up to step ", plan.step(),
                                            " differ: the leader's hash is ",
                                            absl::Hex(plan.hash()), ", ours ", absl::Hex(hash)));
  }
  ASSIGN_OR_RETURN(StepBlock forward, StepBlock::Parse(plan.forward()));
  ASSIGN_OR_RETURN(SamplingBlock sampling, SamplingBlock::Parse(plan.sampling()));
  hash_ = hash;
  ++next_step_;
  return Step{.forward = std::move(forward), .sampling = std::move(sampling)};
}

}  // namespace phalanx
