#include "coordinator/server/testing/server_fixture.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>

#include <future>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "base/log.h"
#include "prometheus/text_serializer.h"

namespace phalanx {
namespace {

using ::grpc::health::v1::Health;
using ::grpc::health::v1::HealthCheckRequest;
using ::grpc::health::v1::HealthCheckResponse;

constexpr std::chrono::seconds kPatience(30);

}  // namespace

CoordinatorServer::Options ServerTest::DefaultOptions() {
  CoordinatorServer::Options options;
  options.listen = {"127.0.0.1", 0};
  options.limits = {
      .model_name = "tiny", .vocab = kFakeVocab, .context_tokens = 64, .has_chat_template = true};
  options.model = {.architecture = "llama",
                   .eos_token_ids = {2},
                   .defaults = {.sampling = {.temperature = 0.5f, .top_k = 3, .top_p = 0.75f}}};
  options.model_fingerprint = "feed";
  options.max_requests = 100;
  options.text.threads = 2;
  options.connection.backoff.initial = absl::Milliseconds(1);
  options.connection.backoff.max = absl::Milliseconds(20);
  return options;
}

void ServerTest::Start(const std::vector<const FakeEngine*>& engines,
                       CoordinatorServer::Options options) {
  for (const FakeEngine* engine : engines) {
    options.workers.push_back({"127.0.0.1", engine->port()});
  }
  auto text = std::make_unique<FakeTextService>();
  text_ = text.get();
  auto server = CoordinatorServer::Start(std::move(options), std::move(text), registry_);
  CHECK_OK(server.status());
  server_ = *std::move(server);
  channel_ = NewChannel();
  stub_ = v1::Inference::NewStub(channel_);
}

void ServerTest::TearDown() { StopServer(); }

void ServerTest::StopServer() {
  if (server_ != nullptr) text_->Release();
  server_.reset();
}

std::shared_ptr<grpc::Channel> ServerTest::NewChannel() {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(server_->address(), grpc::InsecureChannelCredentials(),
                                   arguments);
}

void ServerTest::WaitForHealth(HealthCheckResponse::ServingStatus status,
                               const std::string& service) {
  const auto health = Health::NewStub(channel_);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kPatience);
  HealthCheckRequest request;
  request.set_service(service);
  const auto reader = health->Watch(&context, request);
  HealthCheckResponse response;
  do {
    CHECK(reader->Read(&response)) << "health never became " << status;
  } while (response.status() != status);
  context.TryCancel();
}

void ServerTest::WaitUntilIdle() {
  std::promise<void> idle;
  server_->Drain([&] { idle.set_value(); });
  CHECK(idle.get_future().wait_for(kPatience) == std::future_status::ready) << "requests are left";
}

v1::GenerateRequest ServerTest::TextRequest(const std::string& text) {
  v1::GenerateRequest request;
  request.set_text(text);
  return request;
}

Answer ServerTest::Generate(const v1::GenerateRequest& request, grpc::ClientContext* context) {
  grpc::ClientContext own_context;
  if (context == nullptr) {
    context = &own_context;
    context->set_deadline(std::chrono::system_clock::now() + kPatience);
  }
  Answer answer;
  const auto reader = stub_->Generate(context, request);
  v1::GenerateEvent event;
  int num_events = 0;
  while (reader->Read(&event)) {
    const bool first = num_events++ == 0;
    answer.in_order &= event.has_started() == first && !answer.finished.has_usage();
    if (event.has_started()) answer.started = event.started();
    if (event.has_finished()) answer.finished = event.finished();
    if (!event.has_delta()) continue;
    answer.in_order &= event.delta().sequence() == answer.deltas.size();
    answer.text += event.delta().text();
    answer.reasoning_text += event.delta().reasoning_text();
    answer.token_ids.insert(answer.token_ids.end(), event.delta().token_ids().begin(),
                            event.delta().token_ids().end());
    answer.deltas.push_back(event.delta());
  }
  answer.status = reader->Finish();
  return answer;
}

grpc::Status ServerTest::SendBytes(const std::string& method, const std::string& bytes) {
  grpc::GenericStub stub(channel_);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kPatience);
  const grpc::Slice slice(bytes);
  const grpc::ByteBuffer request(&slice, 1);
  grpc::ByteBuffer response;
  std::promise<grpc::Status> status;
  stub.UnaryCall(&context, "/phalanx.v1.Inference/" + method, grpc::StubOptions(), &request,
                 &response, [&](grpc::Status result) { status.set_value(std::move(result)); });
  return status.get_future().get();
}

std::string ServerTest::RequestsMetric(const std::string& method, const std::string& code) {
  return Metric("phalanx_requests_total{code=\"" + code + "\",method=\"" + method +
                "\",model=\"tiny\"}");
}

std::string ServerTest::Metric(const std::string& series) {
  const std::string page = prometheus::TextSerializer().Serialize(registry_.Collect());
  for (const auto& line : absl::StrSplit(page, '\n')) {
    if (absl::StartsWith(line, series + " ")) return std::string(line.substr(series.size() + 1));
  }
  return "";
}

FakeEngine::Script SayScript(const std::string& text) {
  return [text](const worker::v1::Submit& submit) {
    std::vector<worker::v1::RequestEvent> events;
    for (const char byte : text) {
      events.push_back(TokensEvent(submit.request_id(), {static_cast<unsigned char>(byte)}));
    }
    events.push_back(FinishedEvent(submit.request_id(), worker::v1::EngineFinished::REASON_LENGTH));
    return events;
  };
}

}  // namespace phalanx
