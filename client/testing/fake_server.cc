#include "client/testing/fake_server.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/log.h"
#include "base/mutex.h"
#include "phalanx/v1/inference.grpc.pb.h"

namespace phalanx {
namespace {

constexpr absl::Duration kPatience = absl::Minutes(1);

grpc::Status ToGrpc(const absl::Status& status) {
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

// Writes the scores of one text, in two pieces. Deletes itself.
class ScoreStream final : public grpc::ServerWriteReactor<v1::ScoreEvent> {
 public:
  ScoreStream(const v1::ScoreRequest& request, bool whole) {
    const auto& ids = request.tokens().ids();
    *events_.emplace_back().mutable_started()->mutable_token_ids() = ids;
    for (int begin = 1; begin < ids.size();) {
      v1::ScoreDelta& delta = *events_.emplace_back().mutable_delta();
      delta.set_position(begin);
      const int end = begin == 1 ? (ids.size() + 1) / 2 + 1 : ids.size();
      for (; begin < std::min(end, ids.size()); ++begin) {
        delta.add_log_probs(-static_cast<float>(ids[begin]));
      }
    }
    if (whole) events_.emplace_back().mutable_finished()->set_scored_tokens(ids.size() - 1);
    Advance();
  }

  void OnWriteDone(bool ok) override { Advance(); }
  void OnDone() override { delete this; }

 private:
  void Advance() {
    if (next_ < events_.size()) {
      StartWrite(&events_[next_++]);
    } else {
      Finish(grpc::Status::OK);
    }
  }

  std::vector<v1::ScoreEvent> events_;
  size_t next_ = 0;
};

// Writes the events of one answer, one after the other. Deletes itself.
class AnswerStream final : public grpc::ServerWriteReactor<v1::GenerateEvent> {
 public:
  AnswerStream(FakeAnswer answer, std::function<void()> on_cancel)
      : answer_(std::move(answer)), on_cancel_(std::move(on_cancel)) {
    Advance();
  }

  void OnWriteDone(bool ok) override {
    if (ok) {
      Advance();
    } else {
      FinishOnce(grpc::Status::CANCELLED);
    }
  }

  void OnCancel() override {
    on_cancel_();
    FinishOnce(grpc::Status::CANCELLED);
  }

  void OnDone() override { delete this; }

 private:
  void Advance() {
    if (next_ < answer_.events.size()) {
      StartWrite(&answer_.events[next_++]);
    } else if (!answer_.hang) {
      FinishOnce(ToGrpc(answer_.status));
    }
  }

  // gRPC may call OnCancel while another thread is in OnWriteDone, and a stream must be finished
  // exactly once.
  void FinishOnce(const grpc::Status& status) {
    {
      MutexLock lock(&mutex_);
      if (std::exchange(finished_, true)) return;
    }
    Finish(status);
  }

  const FakeAnswer answer_;
  const std::function<void()> on_cancel_;
  size_t next_ = 0;
  Mutex mutex_;
  bool finished_ GUARDED_BY(mutex_) = false;
};

}  // namespace

class FakeServer::Impl final : public v1::Inference::CallbackService {
 public:
  Impl() {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    CHECK(server_ != nullptr) << "cannot listen";
    target_ = absl::StrCat("127.0.0.1:", port);
    SetServing("", false);
  }

  ~Impl() override { server_->Shutdown(std::chrono::system_clock::now()); }

  grpc::ServerWriteReactor<v1::GenerateEvent>* Generate(
      grpc::CallbackServerContext* context, const v1::GenerateRequest* request) override {
    MutexLock lock(&mutex_);
    CHECK(!answers_.empty()) << "an unexpected Generate: " << request->ShortDebugString();
    requests_.push_back(*request);
    FakeAnswer answer = std::move(answers_.front());
    answers_.pop_front();
    return new AnswerStream(std::move(answer), [this] {
      MutexLock lock(&mutex_);
      ++num_cancelled_;
      cancelled_.SignalAll();
    });
  }

  grpc::ServerWriteReactor<v1::ScoreEvent>* Score(grpc::CallbackServerContext* context,
                                                  const v1::ScoreRequest* request) override {
    MutexLock lock(&mutex_);
    score_requests_.push_back(*request);
    return new ScoreStream(*request, scores_whole_);
  }

  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const v1::TokenizeRequest* request,
                                     v1::TokenizeResponse* response) override {
    response->set_text(request->has_chat()
                           ? absl::StrCat("<", request->chat().messages(0).role(), ">",
                                          request->chat().messages(0).content())
                           : request->text());
    for (const char c : response->text()) {
      const int at = response->token_ids_size();
      response->add_token_ids(static_cast<unsigned char>(c));
      if (!request->pieces()) continue;
      v1::TokenPiece& piece = *response->add_pieces();
      piece.set_bytes(std::string(1, c));
      piece.set_begin(at);
      piece.set_end(at + 1);
    }
    return Finish(context);
  }

  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* context,
                                       const v1::DetokenizeRequest* request,
                                       v1::DetokenizeResponse* response) override {
    for (const int32_t id : request->token_ids()) {
      response->mutable_text()->push_back(static_cast<char>(id));
    }
    return Finish(context);
  }

  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const v1::ListModelsRequest* request,
                                       v1::ListModelsResponse* response) override {
    {
      MutexLock lock(&mutex_);
      response->mutable_models()->Assign(models_.begin(), models_.end());
    }
    return Finish(context);
  }

  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context,
                                     const v1::GetModelRequest* request,
                                     v1::Model* response) override {
    {
      MutexLock lock(&mutex_);
      CHECK(!models_.empty()) << "an unexpected GetModel";
      *response = models_.front();
    }
    return Finish(context);
  }

  void SetServing(const std::string& service, bool serving) {
    server_->GetHealthCheckService()->SetServingStatus(service, serving);
  }

  void WaitForCancelled(int count) {
    MutexLock lock(&mutex_);
    while (num_cancelled_ < count) {
      CHECK(!cancelled_.WaitFor(&mutex_, kPatience)) << "no cancellation came";
    }
  }

  std::string target_;
  mutable Mutex mutex_;
  CondVar cancelled_;
  int num_cancelled_ GUARDED_BY(mutex_) = 0;
  std::deque<FakeAnswer> answers_ GUARDED_BY(mutex_);
  std::vector<v1::GenerateRequest> requests_ GUARDED_BY(mutex_);
  std::vector<v1::ScoreRequest> score_requests_ GUARDED_BY(mutex_);
  bool scores_whole_ GUARDED_BY(mutex_) = true;
  std::vector<v1::Model> models_ GUARDED_BY(mutex_);
  absl::Status status_ GUARDED_BY(mutex_);

 private:
  grpc::ServerUnaryReactor* Finish(grpc::CallbackServerContext* context) {
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    MutexLock lock(&mutex_);
    reactor->Finish(ToGrpc(status_));
    return reactor;
  }

  std::unique_ptr<grpc::Server> server_;
};

FakeAnswer WholeAnswer(const std::vector<std::string>& texts) {
  FakeAnswer answer;
  const int num_tokens = static_cast<int>(texts.size());
  v1::Started& started = *answer.events.emplace_back().mutable_started();
  started.set_request_id("r1");
  started.set_model("fake");
  started.set_prompt_tokens(7);
  for (int i = 0; i < num_tokens; ++i) {
    v1::Delta& delta = *answer.events.emplace_back().mutable_delta();
    delta.set_sequence(static_cast<uint64_t>(i));
    delta.add_token_ids(i);
    delta.set_text(texts[static_cast<size_t>(i)]);
  }
  v1::Finished& finished = *answer.events.emplace_back().mutable_finished();
  finished.set_reason(v1::FINISH_REASON_STOP);
  finished.mutable_usage()->set_prompt_tokens(7);
  finished.mutable_usage()->set_completion_tokens(num_tokens);
  return answer;
}

FakeServer::FakeServer() : impl_(std::make_unique<Impl>()) {}

FakeServer::~FakeServer() = default;

const std::string& FakeServer::target() const { return impl_->target_; }

void FakeServer::AddAnswer(FakeAnswer answer) {
  MutexLock lock(&impl_->mutex_);
  impl_->answers_.push_back(std::move(answer));
}

void FakeServer::AddModel(const v1::Model& model) {
  MutexLock lock(&impl_->mutex_);
  impl_->models_.push_back(model);
}

void FakeServer::FailWith(const absl::Status& status) {
  MutexLock lock(&impl_->mutex_);
  impl_->status_ = status;
}

void FakeServer::SetScoresWhole(bool whole) {
  MutexLock lock(&impl_->mutex_);
  impl_->scores_whole_ = whole;
}

void FakeServer::SetServing(const std::string& service, bool serving) {
  impl_->SetServing(service, serving);
}

std::vector<v1::GenerateRequest> FakeServer::requests() const {
  MutexLock lock(&impl_->mutex_);
  return impl_->requests_;
}

std::vector<v1::ScoreRequest> FakeServer::score_requests() const {
  MutexLock lock(&impl_->mutex_);
  return impl_->score_requests_;
}

void FakeServer::WaitForCancelled(int count) { impl_->WaitForCancelled(count); }

}  // namespace phalanx
