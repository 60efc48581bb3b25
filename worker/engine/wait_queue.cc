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
  int64_t balance = 0;
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
  if (tenant->prompts.empty()) ring_.push_back(tenant.get());
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
  tenant.balance = 0;
}

void WaitQueue::Charge(const Sequence& sequence, int tokens) {
  Tenant& tenant = *sequence.tenant;
  if (!tenant.prompts.empty()) tenant.balance -= tokens;
}

void WaitQueue::Deal(int tokens, absl::FunctionRef<int(Sequence&, int)> take) {
  for (Tenant* tenant : ring_) tenant->next = 0;
  while (tokens > 0) {
    const auto turn = NextTurn();
    if (turn == ring_.end()) return;
    Tenant& tenant = **turn;
    const int most = static_cast<int>(std::min<int64_t>(tokens, tenant.balance));
    const int taken = take(*tenant.prompts[tenant.next], most);
    CHECK(taken >= 0 && taken <= most) << taken << " tokens of " << most;
    if (taken < most) ++tenant.next;
    tokens -= taken;
    tenant.balance -= taken;
    // To the end of the ring. The others move up, those too that cannot go on now.
    if (tenant.balance <= 0) std::rotate(turn, turn + 1, ring_.end());
  }
}

bool WaitQueue::CanGoOn(const Tenant& tenant) { return tenant.next < tenant.prompts.size(); }

// The tenant that goes on; the end if none can.
std::vector<Tenant*>::iterator WaitQueue::NextTurn() {
  const auto has_turn = [](const Tenant* tenant) {
    return CanGoOn(*tenant) && tenant->balance > 0;
  };
  const auto it = std::find_if(ring_.begin(), ring_.end(), has_turn);
  if (it != ring_.end()) return it;
  GiveTurns();
  return std::find_if(ring_.begin(), ring_.end(), has_turn);
}

// Begins as many rounds as it takes until somebody can go on: what is computed outside of Deal may
// have put all of them far below zero.
void WaitQueue::GiveTurns() {
  int64_t highest = std::numeric_limits<int64_t>::min();
  for (const Tenant* tenant : ring_) {
    if (CanGoOn(*tenant)) highest = std::max(highest, tenant->balance);
  }
  const int64_t rounds = -highest / kTurnTokens + 1;
  for (Tenant* tenant : ring_) {
    if (CanGoOn(*tenant)) tenant->balance += rounds * kTurnTokens;
  }
}

int64_t WaitQueue::TokensBefore(const Sequence& sequence) const {
  int64_t tokens = 0;
  for (const Sequence* other : sequence.tenant->prompts) {
    if (other == &sequence) break;
    if (!other->late) tokens += other->pending();
  }
  return tokens;
}

}  // namespace phalanx
