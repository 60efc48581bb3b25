// A server of phalanx.v1.Inference and of the health service that says what a test tells it to.
#ifndef PHALANX_CLIENT_TESTING_FAKE_SERVER_H_
#define PHALANX_CLIENT_TESTING_FAKE_SERVER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "phalanx/v1/inference.pb.h"

namespace phalanx {

// The answer to one Generate.
struct FakeAnswer {
  std::vector<v1::GenerateEvent> events;
  // How the stream ends after them.
  absl::Status status;
  // If set, it does not end until the client cancels.
  bool hang = false;
};

// Started, one Delta of one token (its id the index) for each text, Finished.
FakeAnswer WholeAnswer(const std::vector<std::string>& texts);

// Thread-safe. Listens on a free port of the loopback from its creation on. The process ends at a
// Generate that no answer is left for.
class FakeServer {
 public:
  FakeServer();
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;
  ~FakeServer();

  // HOST:PORT.
  const std::string& target() const;

  // For the next Generate that has none yet.
  void AddAnswer(FakeAnswer answer);
  // For ListModels and GetModel.
  void AddModel(const v1::Model& model);
  // Tokenize gives one token per byte, the byte its id; Detokenize the bytes. This status instead,
  // if it is not OK, for these and ListModels.
  void FailWith(const absl::Status& status);
  // Score gives each token the log-probability -(its id), in two pieces; `whole` is false: no
  // ScoreFinished.
  void SetScoresWhole(bool whole);
  // What the health service says for "" (NOT_SERVING at first) or for another name (unknown).
  void SetServing(const std::string& service, bool serving);

  // Of each Generate so far.
  std::vector<v1::GenerateRequest> requests() const;
  // Of each Score so far.
  std::vector<v1::ScoreRequest> score_requests() const;
  // Blocks until `count` streams were cancelled by the client. Dies after a minute.
  void WaitForCancelled(int count);

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace phalanx

#endif  // PHALANX_CLIENT_TESTING_FAKE_SERVER_H_
