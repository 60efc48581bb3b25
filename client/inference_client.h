// The C++ client library: phalanx.v1.Inference and the standard health service with absl::Status,
// and a worker's phalanx.worker.v1.Introspection.
#ifndef PHALANX_CLIENT_INFERENCE_CLIENT_H_
#define PHALANX_CLIENT_INFERENCE_CLIENT_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/cancellation.h"
#include "phalanx/v1/inference.pb.h"
#include "phalanx/worker/v1/introspection.pb.h"

namespace phalanx {

// What the health service says of a name. kUnknown means that the server does not know it.
enum class ServingState { kUnknown, kServing, kNotServing };

struct CallOptions {
  // The time from the start of the call, after which it ends with DEADLINE_EXCEEDED.
  absl::Duration timeout = absl::InfiniteDuration();
  // Lent for the length of the call, which ends with CANCELLED after Cancel. May be null.
  Cancellation* cancellation = nullptr;
  // The id of the call, 1 to 128 visible ASCII characters; empty leaves it to the server.
  std::string request_id = "";
};

// One connection, made at the first call and made again when it breaks. All methods block.
// Thread-safe: calls of several threads share the connection. A failed call returns the server's
// status as it is, with its details as payloads (error_details.h), and UNAVAILABLE if there is no
// connection.
class InferenceClient {
 public:
  struct Options {
    // HOST:PORT, or any other name that gRPC understands. Not encrypted. Proxies are not used.
    std::string target;
  };

  explicit InferenceClient(const Options& options);
  InferenceClient(const InferenceClient&) = delete;
  InferenceClient& operator=(const InferenceClient&) = delete;
  ~InferenceClient();

  // Calls `on_event` for each event, in this thread, in order. If that fails, the request is
  // cancelled and its status returned. OK means that the stream was whole: one Started, Deltas
  // without a gap in their sequence numbers, one Finished for each of request.n() choices;
  // DATA_LOSS where it was not.
  using EventCallback = absl::FunctionRef<absl::Status(const v1::GenerateEvent& event)>;
  absl::Status Generate(const v1::GenerateRequest& request, const CallOptions& options,
                        EventCallback on_event);

  // The log-probabilities of all tokens but the first, in order. DATA_LOSS if the stream was not
  // whole.
  absl::StatusOr<std::vector<float>> Score(const v1::ScoreRequest& request,
                                           const CallOptions& options);

  absl::StatusOr<v1::TokenizeResponse> Tokenize(const v1::TokenizeRequest& request,
                                                const CallOptions& options);
  absl::StatusOr<v1::DetokenizeResponse> Detokenize(const v1::DetokenizeRequest& request,
                                                    const CallOptions& options);
  absl::StatusOr<v1::Model> GetModel(const v1::GetModelRequest& request,
                                     const CallOptions& options);
  absl::StatusOr<v1::ListModelsResponse> ListModels(const CallOptions& options);

  // Of a worker, not of a coordinator.
  absl::StatusOr<worker::v1::DumpStateResponse> DumpState(
      const worker::v1::DumpStateRequest& request, const CallOptions& options);

  // `service` is a model's or a service's name, or empty for the server as a whole.
  absl::StatusOr<ServingState> CheckHealth(const std::string& service, const CallOptions& options);

  // Waits, connecting again as often as needed, until the state is kServing.
  absl::Status WaitUntilServing(const std::string& service, const CallOptions& options);

 private:
  struct Stubs;
  const std::unique_ptr<Stubs> stubs_;
};

}  // namespace phalanx

#endif  // PHALANX_CLIENT_INFERENCE_CLIENT_H_
