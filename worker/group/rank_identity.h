// What the ranks of one group must have in common: each computes a part of the same sums, to the
// same bits.
#ifndef PHALANX_WORKER_GROUP_RANK_IDENTITY_H_
#define PHALANX_WORKER_GROUP_RANK_IDENTITY_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kernels/ops.h"
#include "model/sharding/weight_plan.h"
#include "phalanx/worker/v1/rank.pb.h"

namespace phalanx {

// Of the messages between ranks (rank.proto). To be raised with every change of them that an older
// program would misread: then the two are told so, before anything else is compared.
inline constexpr int kRankProtocol = 2;

struct RankIdentity {
  int protocol = kRankProtocol;
  // model/checkpoint/fingerprint.h. The weights themselves are compared once they are read, see
  // GroupEpoch::AwaitReady.
  std::string model_fingerprint;
  // A digest of the program's file.
  std::string build;
  // The backend's arithmetic, level of determinism and type of KV caches, and the library whose
  // mathematical functions it calls, such as "avx2, strict, KV cache f32, glibc 2.36". Others round
  // differently.
  std::string arithmetic;
  // What the weights are kept in, by WeightFormName.
  std::string weight_form;
};

// The identity of this process, which computes by `backend`. Errors are those of MappedFile::Open,
// if its program cannot be read.
absl::StatusOr<RankIdentity> OwnIdentity(absl::string_view model_fingerprint,
                                         const kernels::Backend& backend, WeightForm weights);

// FAILED_PRECONDITION, naming the rank, what differs and what to do, unless `own` is the leader's.
absl::Status CheckSameIdentity(int rank, const RankIdentity& own, const RankIdentity& leaders);

// WriteIdentity and IdentityFrom carry an identity in the first message of a rank.
void WriteIdentity(const RankIdentity& identity, worker::v1::Join* join);
RankIdentity IdentityFrom(const worker::v1::Join& join);

}  // namespace phalanx

#endif  // PHALANX_WORKER_GROUP_RANK_IDENTITY_H_
