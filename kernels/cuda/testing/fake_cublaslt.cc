// A library with the names of cuBLASLt's functions, for the test of what loads them. A call returns
// the place of its function in this file, counted from 100, whatever its arguments. The version is
// that of the environment variable FAKE_CUBLASLT_VERSION.
#include <cstddef>
#include <cstdlib>

extern "C" {

size_t cublasLtGetVersion() {
  const char* const text = std::getenv("FAKE_CUBLASLT_VERSION");  // NOLINT(concurrency-mt-unsafe)
  return text == nullptr ? 0 : std::strtoul(text, nullptr, 10);
}
const char* cublasLtGetStatusString(int status) { return "the status"; }

int cublasLtCreate() { return 100; }
int cublasLtDestroy() { return 101; }
int cublasLtMatmulDescCreate() { return 102; }
int cublasLtMatmulDescDestroy() { return 103; }
int cublasLtMatmulDescSetAttribute() { return 104; }
int cublasLtMatrixLayoutCreate() { return 105; }
int cublasLtMatrixLayoutDestroy() { return 106; }
int cublasLtMatmulPreferenceCreate() { return 107; }
int cublasLtMatmulPreferenceDestroy() { return 108; }
int cublasLtMatmulPreferenceSetAttribute() { return 109; }
int cublasLtMatmulAlgoGetHeuristic() { return 110; }
int cublasLtMatmulAlgoCheck() { return 111; }
int cublasLtMatmul() { return 112; }

}  // extern "C"
