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
  // How the stream ends after the events.
  absl::Status status;
  // If set, the stream does not end until the client cancels.
  bool hang = false;
};

// An answer of Started, one Delta of one token for each text, whose id is the index of the text,
// and Finished.
FakeAnswer WholeAnswer(const std::vector<std::string>& texts);

// Thread-safe. Listens on a free port of the loopback as soon as it is made. A Generate for which
// no answer is left ends the process.
class FakeServer {
 public:
  FakeServer();
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;
  ~FakeServer();

  // HOST:PORT.
  const std::string& target() const;

  // Adds the answer to the next Generate that has none yet.
  void AddAnswer(FakeAnswer answer);
  // Adds a model for ListModels. GetModel gives the first one.
  void AddModel(const v1::Model& model);
  // Makes Tokenize, Detokenize, ListModels and GetModel end with this status. Without it, or if it
  // is OK, Tokenize gives one token for each byte, with the byte as its id, and Detokenize gives
  // the bytes.
  void FailWith(const absl::Status& status);
  // Score gives each token the log-probability -(its id), in two pieces. If `whole` is false, it
  // sends no ScoreFinished.
  void SetScoresWhole(bool whole);
  // Sets what the health service says for "", which is NOT_SERVING at first, or for another name,
  // which is unknown at first.
  void SetServing(const std::string& service, bool serving);

  // The requests of all calls of Generate so far.
  std::vector<v1::GenerateRequest> requests() const;
  // The requests of all calls of Score so far.
  std::vector<v1::ScoreRequest> score_requests() const;
  // Blocks until `count` streams were cancelled by the client. Dies after a minute.
  void WaitForCancelled(int count);

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace phalanx

#endif  // PHALANX_CLIENT_TESTING_FAKE_SERVER_H_
