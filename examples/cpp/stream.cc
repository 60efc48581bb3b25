// Streams the answer to a question: stream 127.0.0.1:50051 "Why is the sky blue?".
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <iostream>

#include "phalanx/v1/inference.grpc.pb.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: stream HOST:PORT QUESTION\n";
    return 2;
  }
  phalanx::v1::GenerateRequest request;
  phalanx::v1::Message* message = request.mutable_chat()->add_messages();
  message->set_role("user");
  message->set_content(argv[2]);
  request.set_max_new_tokens(200);

  auto stub = phalanx::v1::Inference::NewStub(
      grpc::CreateChannel(argv[1], grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
  auto stream = stub->Generate(&context, request);
  phalanx::v1::GenerateEvent event;
  while (stream->Read(&event)) {
    std::cout << event.delta().text() << std::flush;
    if (event.has_finished()) {
      std::cout << "\n[" << event.finished().usage().completion_tokens() << " tokens]\n";
    }
  }
  if (grpc::Status status = stream->Finish(); !status.ok()) {
    std::cerr << "error " << status.error_code() << ": " << status.error_message() << "\n";
    return 1;
  }
}
