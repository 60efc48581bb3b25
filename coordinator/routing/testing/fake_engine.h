// A worker group for tests: an Engine service in this process that does what the test says.
#ifndef PHALANX_COORDINATOR_ROUTING_TESTING_FAKE_ENGINE_H_
#define PHALANX_COORDINATOR_ROUTING_TESTING_FAKE_ENGINE_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "model/generation/engine_features.h"
#include "phalanx/worker/v1/engine.pb.h"

namespace phalanx {

// Thread-safe. Waiting ends with a CHECK failure after half a minute.
class FakeEngine {
 public:
  struct Options {
    std::string fingerprint = "feed";
    std::string weights_digest = "cafe";
    int context_tokens = 64;
    bool serving = true;
    std::vector<std::string> features = EngineFeatures();
    // How often a session greets; a right one does once.
    int greetings = 1;
    // Without a script: whether a Submit is accepted at once, or when the test says so by Send.
    bool accepts = true;
    // 0 takes a free one.
    int port = 0;
  };

  // Answers each Submit at once, one StepEvents per element; request ids are filled in, and an
  // acceptance comes first unless the first element is an error. Without a script the test answers
  // through Send.
  using Script =
      std::function<std::vector<worker::v1::RequestEvent>(const worker::v1::Submit& submit)>;

  explicit FakeEngine(const Options& options, Script script = nullptr);
  FakeEngine(const FakeEngine&) = delete;
  FakeEngine& operator=(const FakeEngine&) = delete;
  // Cancels its sessions.
  ~FakeEngine();

  // "127.0.0.1:PORT".
  std::string address() const;
  int port() const;

  void SetServing(bool serving);
  // Ends every health Watch, those that come later too.
  void EndHealth();

  // Waits until `count` sessions have been opened in all.
  void WaitForSession(int count);
  // Waits until `count` submits have come in all, and returns the last of them.
  worker::v1::Submit WaitForSubmit(int count = 1);
  // How many submits have come so far.
  int submits();
  // Waits until `count` cancels have come in all, and returns the last one's request id.
  uint64_t WaitForCancel(int count = 1);

  // Sends one step with this event on the newest session.
  void Send(const worker::v1::RequestEvent& event);

  // Ends every open session with this status.
  void EndSessions(const absl::Status& status);

 private:
  class Service;

  std::unique_ptr<Service> service_;
};

// Events by their parts.
worker::v1::RequestEvent AcceptedEvent(uint64_t request_id);
worker::v1::RequestEvent StartedEvent(uint64_t request_id);
worker::v1::RequestEvent ErrorEvent(uint64_t request_id, const absl::Status& status);
worker::v1::RequestEvent TokensEvent(uint64_t request_id, const std::vector<int32_t>& token_ids);
worker::v1::RequestEvent LogProbsEvent(uint64_t request_id, const std::vector<float>& log_probs);
worker::v1::RequestEvent FinishedEvent(uint64_t request_id,
                                       worker::v1::EngineFinished::Reason reason);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_ROUTING_TESTING_FAKE_ENGINE_H_
