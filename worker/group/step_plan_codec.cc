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

uint64_t HashAfter(uint64_t hash, uint64_t step, absl::string_view forward) {
  return Mix(Mix(hash, step), forward);
}

}  // namespace

void StepSequence::Encode(const StepBlock& forward, const SamplingBlock* sampling,
                          worker::v1::StepPlan* plan) {
  hash_ = HashAfter(hash_, next_step_, forward.bytes());
  plan->set_forward(forward.bytes().data(), forward.bytes().size());
  if (sampling != nullptr) {
    hash_ = Mix(hash_, sampling->bytes());
    plan->set_sampling(sampling->bytes().data(), sampling->bytes().size());
  } else {
    plan->clear_sampling();
  }
  plan->set_epoch(epoch_);
  plan->set_step(next_step_++);
  plan->set_hash(hash_);
}

void StepSequence::EncodeSampling(const SamplingBlock& sampling,
                                  worker::v1::StepSampling* message) {
  hash_ = Mix(hash_, sampling.bytes());
  message->set_epoch(epoch_);
  message->set_step(next_step_ - 1);
  message->set_hash(hash_);
  message->set_sampling(sampling.bytes().data(), sampling.bytes().size());
}

absl::Status StepSequence::Follow(uint64_t epoch, uint64_t step, uint64_t hash, bool is_sampling,
                                  uint64_t own_hash) {
  const auto name = [](bool sampling) { return sampling ? "the sampling of step " : "step "; };
  const uint64_t expected = sampling_is_due_ ? next_step_ - 1 : next_step_;
  if (epoch != epoch_ || step != expected || is_sampling != sampling_is_due_) {
    return absl::DataLossError(absl::StrCat("expected ", name(sampling_is_due_), expected,
                                            " of epoch ", epoch_, ", got ", name(is_sampling), step,
                                            " of epoch ", epoch));
  }
  if (hash == own_hash) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("the plans up to ", name(is_sampling), step,
                                          " differ: the leader's hash is ", absl::Hex(hash),
                                          ", ours ", absl::Hex(own_hash)));
}

absl::StatusOr<StepSequence::Parts> StepSequence::Decode(const worker::v1::StepPlan& plan) {
  uint64_t hash = HashAfter(hash_, next_step_, plan.forward());
  if (plan.has_sampling()) hash = Mix(hash, plan.sampling());
  RETURN_IF_ERROR(Follow(plan.epoch(), plan.step(), plan.hash(), /*is_sampling=*/false, hash));
  ASSIGN_OR_RETURN(StepBlock forward, StepBlock::Parse(plan.forward()));
  Parts parts = {.forward = std::move(forward), .sampling = std::nullopt};
  if (plan.has_sampling()) {
    ASSIGN_OR_RETURN(parts.sampling, SamplingBlock::Parse(plan.sampling()));
  }
  hash_ = hash;
  ++next_step_;
  sampling_is_due_ = !plan.has_sampling();
  return parts;
}

absl::StatusOr<SamplingBlock> StepSequence::DecodeSampling(
    const worker::v1::StepSampling& message) {
  const uint64_t hash = Mix(hash_, message.sampling());
  RETURN_IF_ERROR(
      Follow(message.epoch(), message.step(), message.hash(), /*is_sampling=*/true, hash));
  ASSIGN_OR_RETURN(SamplingBlock sampling, SamplingBlock::Parse(message.sampling()));
  hash_ = hash;
  sampling_is_due_ = false;
  return sampling;
}

}  // namespace phalanx
