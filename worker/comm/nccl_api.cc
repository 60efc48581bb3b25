#include "worker/comm/nccl_api.h"

#include <dlfcn.h>

#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace phalanx {
namespace {

constexpr char kVariable[] = "PHALANX_NCCL";
constexpr char kLibrary[] = "libnccl.so.2";

std::string LastLoaderError() {
  // The loader keeps the text for each thread.
  const char* const error = dlerror();  // NOLINT(concurrency-mt-unsafe)
  return error != nullptr ? error : "no reason given";
}

absl::StatusOr<void*> OpenLibrary(const std::string& name, bool is_chosen) {
  void* const library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library != nullptr) return library;
  const std::string where =
      is_chosen ? absl::StrCat("which the environment variable ", kVariable, " names")
                : "in LD_LIBRARY_PATH and the folders of the system's libraries";
  return absl::NotFoundError(absl::StrCat(
      "NCCL, which ranks on several GPUs need, could not be loaded: ", LastLoaderError(),
      ". It was looked for as ", name, ", ", where,
      ". NVIDIA's package libnccl2 has it, and the Python package nvidia-nccl-cu13; if it lies "
      "elsewhere, set ",
      kVariable, " to the path of the file"));
}

// Sets `function` to the library's function of that name.
template <typename Function>
absl::Status Find(void* library, const char* name, Function* function) {
  void* const symbol = dlsym(library, name);
  if (symbol == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("the NCCL library lacks a function that is needed: ", LastLoaderError()));
  }
  *function = reinterpret_cast<Function>(symbol);
  return absl::OkStatus();
}

std::string VersionText(int version) {
  return absl::StrCat(version / 10000, ".", version / 100 % 100, ".", version % 100);
}

}  // namespace

absl::StatusOr<NcclApi> LoadNccl() {
  const char* const chosen = std::getenv(kVariable);  // NOLINT(concurrency-mt-unsafe)
  const bool is_chosen = chosen != nullptr && *chosen != '\0';
  const std::string name = is_chosen ? chosen : kLibrary;
  ASSIGN_OR_RETURN(void* const library, OpenLibrary(name, is_chosen));
  NcclApi api;
  RETURN_IF_ERROR(Find(library, "ncclGetVersion", &api.GetVersion));
  RETURN_IF_ERROR(Find(library, "ncclGetErrorString", &api.GetErrorString));
  RETURN_IF_ERROR(Find(library, "ncclGetLastError", &api.GetLastError));
  // Before the other functions, some of which an old library does not have.
  int version = 0;
  RETURN_IF_ERROR(
      NcclStatus(api, nullptr, api.GetVersion(&version), "asking NCCL for its version"));
  if (version < kMinNcclVersion) {
    return absl::FailedPreconditionError(absl::StrCat(name, " is NCCL ", VersionText(version), "; ",
                                                      VersionText(kMinNcclVersion),
                                                      " or later is needed"));
  }
  RETURN_IF_ERROR(Find(library, "ncclGetUniqueId", &api.GetUniqueId));
  RETURN_IF_ERROR(Find(library, "ncclCommInitRankConfig", &api.CommInitRankConfig));
  RETURN_IF_ERROR(Find(library, "ncclCommGetAsyncError", &api.CommGetAsyncError));
  RETURN_IF_ERROR(Find(library, "ncclCommAbort", &api.CommAbort));
  RETURN_IF_ERROR(Find(library, "ncclCommFinalize", &api.CommFinalize));
  RETURN_IF_ERROR(Find(library, "ncclCommDestroy", &api.CommDestroy));
  RETURN_IF_ERROR(Find(library, "ncclAllReduce", &api.AllReduce));
  RETURN_IF_ERROR(Find(library, "ncclAllGather", &api.AllGather));
  RETURN_IF_ERROR(Find(library, "ncclBroadcast", &api.Broadcast));
  return api;
}

absl::Status NcclStatus(const NcclApi& api, NcclComm comm, NcclResult result,
                        absl::string_view doing) {
  if (result == NcclResult::kSuccess || result == NcclResult::kInProgress) return absl::OkStatus();
  std::string message = absl::StrCat(doing, ": NCCL says \"", api.GetErrorString(result), "\"");
  const char* const reason = api.GetLastError(comm);
  if (reason != nullptr && *reason != '\0') absl::StrAppend(&message, ": ", reason);
  const bool is_our_fault =
      result == NcclResult::kInvalidArgument || result == NcclResult::kInvalidUsage;
  return is_our_fault ? absl::InternalError(message) : absl::UnavailableError(message);
}

}  // namespace phalanx
