#include "worker/group/rank_identity.h"

#include <gnu/libc-version.h>

#include <memory>

#include "absl/strings/str_cat.h"
#include "base/content_digest.h"
#include "base/status.h"
#include "model/files/mapped_file.h"

namespace phalanx {
namespace {

absl::Status Refuse(int rank, absl::string_view what, absl::string_view own,
                    absl::string_view leaders, absl::string_view advice) {
  return absl::FailedPreconditionError(
      absl::StrCat("rank ", rank, " ", what, " ", own, " instead of ", leaders, "; ", advice));
}

}  // namespace

absl::StatusOr<RankIdentity> OwnIdentity(absl::string_view model_fingerprint,
                                         const kernels::Backend& backend, WeightForm weights) {
  // The program that runs, even if its file has been replaced since it was started.
  ASSIGN_OR_RETURN(const std::unique_ptr<MappedFile> program, MappedFile::Open("/proc/self/exe"));
  ContentDigest digest;
  digest.Add(program->bytes());
  return RankIdentity{
      .model_fingerprint = std::string(model_fingerprint),
      .build = digest.Hex(),
      .arithmetic =
          absl::StrCat(backend.Arithmetic(), ", ", kernels::DeterminismName(backend.determinism()),
                       ", KV cache ", kernels::KvDTypeName(backend.kv_cache_dtype()), ", glibc ",
                       gnu_get_libc_version()),
      .weight_form = WeightFormName(weights)};
}

absl::Status CheckSameIdentity(int rank, const RankIdentity& own, const RankIdentity& leaders) {
  if (own.protocol != leaders.protocol) {
    return Refuse(rank, "speaks protocol", absl::StrCat(own.protocol),
                  absl::StrCat(leaders.protocol),
                  "start all ranks of a group from the same program");
  }
  if (own.model_fingerprint != leaders.model_fingerprint) {
    return Refuse(rank, "has another model: fingerprint", own.model_fingerprint,
                  leaders.model_fingerprint, "give all ranks the same --model");
  }
  if (own.build != leaders.build) {
    return Refuse(rank, "is another build of the worker: digest", own.build, leaders.build,
                  "start all ranks of a group from the same program");
  }
  if (own.arithmetic != leaders.arithmetic) {
    return Refuse(rank, "computes with", own.arithmetic, leaders.arithmetic,
                  "sums would differ in their last bits: all ranks of a group need the same "
                  "instructions, --determinism, --kv_cache_dtype and libraries");
  }
  if (own.weight_form != leaders.weight_form) {
    return Refuse(rank, "keeps weights as", own.weight_form, leaders.weight_form,
                  "give all ranks the same --weights");
  }
  return absl::OkStatus();
}

void WriteIdentity(const RankIdentity& identity, worker::v1::Join* join) {
  join->set_protocol(identity.protocol);
  join->set_model_fingerprint(identity.model_fingerprint);
  join->set_build(identity.build);
  join->set_arithmetic(identity.arithmetic);
  join->set_weight_form(identity.weight_form);
}

RankIdentity IdentityFrom(const worker::v1::Join& join) {
  return {.protocol = join.protocol(),
          .model_fingerprint = join.model_fingerprint(),
          .build = join.build(),
          .arithmetic = join.arithmetic(),
          .weight_form = join.weight_form()};
}

}  // namespace phalanx
