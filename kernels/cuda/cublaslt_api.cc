#include "kernels/cuda/cublaslt_api.h"

#include <dlfcn.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace phalanx::kernels::cuda {
namespace {

constexpr char kVariable[] = "PHALANX_CUBLASLT";
constexpr const char* kLibraries[] = {"libcublasLt.so.13", "libcublasLt.so.12"};

std::string LastLoaderError() {
  // The loader keeps the text for each thread.
  const char* const error = dlerror();  // NOLINT(concurrency-mt-unsafe)
  return error != nullptr ? error : "no reason given";
}

// A library that was opened, and the name that it was found by.
struct OpenedLibrary {
  void* handle = nullptr;
  std::string name;
};

absl::StatusOr<OpenedLibrary> OpenLibrary() {
  const char* const chosen = std::getenv(kVariable);  // NOLINT(concurrency-mt-unsafe)
  const bool is_chosen = chosen != nullptr && *chosen != '\0';
  const std::vector<std::string> names =
      is_chosen ? std::vector<std::string>{chosen}
                : std::vector<std::string>(std::begin(kLibraries), std::end(kLibraries));
  std::string first_error;
  for (const std::string& name : names) {
    void* const handle = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle != nullptr) return OpenedLibrary{handle, name};
    if (first_error.empty()) first_error = LastLoaderError();
  }
  const std::string where =
      is_chosen ? absl::StrCat("which the environment variable ", kVariable, " names")
                : "in LD_LIBRARY_PATH and the folders of the system's libraries";
  return absl::NotFoundError(absl::StrCat(
      "cuBLASLt could not be loaded: ", first_error, ". It was looked for as ",
      absl::StrJoin(names, " and "), ", ", where,
      ". NVIDIA's package libcublas-13-0 has it, and the Python package nvidia-cublas; if it lies "
      "elsewhere, set ",
      kVariable, " to the path of the file"));
}

// Fills the table, and remembers the first function that is missing.
class Functions {
 public:
  explicit Functions(const OpenedLibrary& library) : library_(library) {}

  template <typename Function>
  void Find(const char* name, Function* function) {
    void* const symbol = dlsym(library_.handle, name);
    if (symbol == nullptr && status_.ok()) {
      status_ = absl::FailedPreconditionError(absl::StrCat(
          library_.name, " lacks a function of cuBLASLt that is needed: ", LastLoaderError()));
    }
    *function = reinterpret_cast<Function>(symbol);
  }
  const absl::Status& status() const { return status_; }

 private:
  const OpenedLibrary& library_;
  absl::Status status_;
};

}  // namespace

std::string CublasLtVersionText(size_t version) {
  return absl::StrCat(version / 10000, ".", version / 100 % 100, ".", version % 100);
}

absl::StatusOr<CublasLtApi> LoadCublasLt() {
  const absl::StatusOr<OpenedLibrary> library = OpenLibrary();
  if (!library.ok()) return library.status();
  CublasLtApi api;
  Functions functions(*library);
  functions.Find("cublasLtGetVersion", &api.GetVersion);
  if (!functions.status().ok()) return functions.status();
  if (const size_t version = api.GetVersion(); version < kMinCublasLtVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat(library->name, " is cuBLASLt ", CublasLtVersionText(version), "; ",
                     CublasLtVersionText(kMinCublasLtVersion), " or later is needed"));
  }
  functions.Find("cublasLtGetStatusString", &api.GetStatusString);
  functions.Find("cublasLtCreate", &api.Create);
  functions.Find("cublasLtDestroy", &api.Destroy);
  functions.Find("cublasLtMatmulDescCreate", &api.MatmulDescCreate);
  functions.Find("cublasLtMatmulDescDestroy", &api.MatmulDescDestroy);
  functions.Find("cublasLtMatmulDescSetAttribute", &api.MatmulDescSetAttribute);
  functions.Find("cublasLtMatrixLayoutCreate", &api.MatrixLayoutCreate);
  functions.Find("cublasLtMatrixLayoutDestroy", &api.MatrixLayoutDestroy);
  functions.Find("cublasLtMatmulPreferenceCreate", &api.MatmulPreferenceCreate);
  functions.Find("cublasLtMatmulPreferenceDestroy", &api.MatmulPreferenceDestroy);
  functions.Find("cublasLtMatmulPreferenceSetAttribute", &api.MatmulPreferenceSetAttribute);
  functions.Find("cublasLtMatmulAlgoGetHeuristic", &api.MatmulAlgoGetHeuristic);
  functions.Find("cublasLtMatmulAlgoCheck", &api.MatmulAlgoCheck);
  functions.Find("cublasLtMatmul", &api.Matmul);
  if (!functions.status().ok()) return functions.status();
  return api;
}

}  // namespace phalanx::kernels::cuda
