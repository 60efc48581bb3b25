// A library with the names of NCCL's functions, for the test of what loads them. A call returns the
// place of its function in this file, counted from 100, whatever its arguments. The version is that
// of the environment variable FAKE_NCCL_VERSION.
#include <cstdlib>

extern "C" {

int ncclGetVersion(int* version) {
  const char* const text = std::getenv("FAKE_NCCL_VERSION");  // NOLINT(concurrency-mt-unsafe)
  *version = text == nullptr ? 0 : std::atoi(text);
  return text == nullptr ? 3 : 0;
}
const char* ncclGetErrorString(int result) { return "the error"; }
const char* ncclGetLastError(void* comm) { return "its reason"; }

int ncclGetUniqueId() { return 100; }
int ncclCommInitRankConfig() { return 101; }
int ncclCommGetAsyncError() { return 102; }
int ncclCommAbort() { return 103; }
int ncclCommFinalize() { return 104; }
int ncclCommDestroy() { return 105; }
int ncclAllReduce() { return 106; }
int ncclAllGather() { return 107; }
int ncclBroadcast() { return 108; }

}  // extern "C"
