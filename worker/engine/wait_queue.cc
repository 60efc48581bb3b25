#include "worker/engine/wait_queue.h"

#include <algorithm>

#include "base/log.h"

namespace phalanx {

// One that has sequences in the queue, or has had some that are not removed yet.
struct Tenant {
  std::string name;
  int sequences = 0;
  // The sequences that have prompt tokens left, by rank.
  std::vector<Sequence*> prompts;
  // During Deal: the first of `prompts` that is still to be asked.
  size_t next = 0;
  // Tokens that it has had, and those that it had missed before it came.
  int64_t served = 0;

  bool can_go_on() const { return next < prompts.size(); }
};

namespace {

auto PlaceByRank(const Sequence& sequence, std::vector<Sequence*>& sequences) {
  return std::lower_bound(sequences.begin(), sequences.end(), &sequence,
                          [](const Sequence* a, const Sequence* b) { return a->rank < b->rank; });
}

}  // namespace

void InsertByRank(Sequence& sequence, std::vector<Sequence*>& sequences) {
  sequences.insert(PlaceByRank(sequence, sequences), &sequence);
}

bool EraseByRank(const Sequence& sequence, std::vector<Sequence*>& sequences) {
  const auto it = PlaceByRank(sequence, sequences);
  if (it == sequences.end() || *it != &sequence) return false;
  sequences.erase(it);
  return true;
}

WaitQueue::WaitQueue() = default;
WaitQueue::~WaitQueue() = default;

void WaitQueue::Add(Sequence& sequence, absl::string_view tenant_name) {
  std::unique_ptr<Tenant>& tenant = tenants_[tenant_name];
  if (tenant == nullptr) {
    tenant = std::make_unique<Tenant>();
    tenant->name = std::string(tenant_name);
  }
  sequence.tenant = tenant.get();
  sequence.in_queue = true;
  ++tenant->sequences;
  if (tenant->prompts.empty()) {
    ring_.push_back(tenant.get());
    tenant->served = std::max(tenant->served, level_);
  }
  InsertByRank(sequence, tenant->prompts);
}

void WaitQueue::Remove(Sequence& sequence) {
  TakeOut(sequence);
  Tenant* const tenant = sequence.tenant;
  if (--tenant->sequences == 0) tenants_.erase(tenants_.find(tenant->name));
  sequence.tenant = nullptr;
}

void WaitQueue::TakeOut(Sequence& sequence) {
  if (!sequence.in_queue) return;
  sequence.in_queue = false;
  Tenant& tenant = *sequence.tenant;
  CHECK(EraseByRank(sequence, tenant.prompts));
  if (tenant.prompts.empty()) LeaveRing(tenant);
}

void WaitQueue::LeaveRing(Tenant& tenant) {
  ring_.erase(std::find(ring_.begin(), ring_.end(), &tenant));
  if (turn_ == &tenant) turn_ = nullptr;
}

void WaitQueue::Charge(const Sequence& sequence, int tokens) { sequence.tenant->served += tokens; }

void WaitQueue::Deal(int tokens, absl::FunctionRef<int(Sequence&, int)> take) {
  for (Tenant* tenant : ring_) tenant->next = 0;
  // A turn that was given because others could not go on ends now: perhaps they can.
  if (!turn_is_due_) turn_ = nullptr;
  while (tokens > 0) {
    Tenant* const tenant = NextTurn();
    if (tenant == nullptr) return;
    const int most = std::min(tokens, turn_tokens_left_);
    const int taken = take(*tenant->prompts[tenant->next], most);
    CHECK(taken >= 0 && taken <= most) << taken << " tokens of " << most;
    if (taken < most) ++tenant->next;
    tokens -= taken;
    turn_tokens_left_ -= taken;
    tenant->served += taken;
  }
}

// The tenant that goes on; null if none can.
Tenant* WaitQueue::NextTurn() {
  if (turn_ != nullptr && turn_tokens_left_ > 0 && turn_->can_go_on()) return turn_;
  turn_ = nullptr;
  const Tenant* least = nullptr;
  for (Tenant* tenant : ring_) {
    if (least == nullptr || tenant->served < least->served) least = tenant;
    if (!tenant->can_go_on()) continue;
    if (turn_ == nullptr || tenant->served < turn_->served) turn_ = tenant;
  }
  if (turn_ == nullptr) return nullptr;
  turn_tokens_left_ = kTurnTokens;
  turn_is_due_ = turn_->served == least->served;
  level_ = least->served;
  return turn_;
}

int64_t WaitQueue::TokensBefore(const Sequence& sequence) const {
  int64_t tokens = 0;
  for (const Sequence* other : sequence.tenant->prompts) {
    if (other == &sequence) break;
    if (!other->late) tokens += other->slot < 0 ? other->own_tokens : other->pending();
  }
  return tokens;
}

void WaitQueue::LookBefore(const Sequence& sequence, int count,
                           absl::FunctionRef<void(const Sequence&)> look) const {
  std::vector<Sequence*>& prompts = sequence.tenant->prompts;
  const auto end = PlaceByRank(sequence, prompts);
  for (auto it = end - std::min<int64_t>(count, end - prompts.begin()); it != end; ++it) look(**it);
}

}  // namespace phalanx
