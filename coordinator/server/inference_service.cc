#include "coordinator/server/inference_service.h"

#include <atomic>
#include <utility>

#include "base/status.h"
#include "coordinator/admission/generation_message.h"
#include "coordinator/admission/validate.h"
#include "coordinator/server/describe_server.h"
#include "coordinator/server/generate_call.h"
#include "coordinator/server/prompt.h"
#include "coordinator/server/raw_messages.h"
#include "coordinator/server/score_call.h"
#include "coordinator/server/unary_call.h"
#include "phalanx/v1/inference.grpc.pb.h"

namespace phalanx {
namespace {

v1::Determinism ToMessage(Determinism level) {
  switch (level) {
    case Determinism::kStrict:
      return v1::DETERMINISM_STRICT;
    case Determinism::kFast:
      return v1::DETERMINISM_FAST;
    case Determinism::kUnknown:
      break;
  }
  return v1::DETERMINISM_UNSPECIFIED;
}

using v1::Inference;

// Every method of the service takes and gives raw bytes.
using RawInference = Inference::WithRawCallbackMethod_Generate<
    Inference::WithRawCallbackMethod_Score<Inference::WithRawCallbackMethod_Tokenize<
        Inference::WithRawCallbackMethod_Detokenize<Inference::WithRawCallbackMethod_GetModel<
            Inference::WithRawCallbackMethod_ListModels<Inference::Service>>>>>>;

template <typename Request>
absl::Status Parse(const grpc::ByteBuffer& bytes, const RequestLimits& limits,
                   absl::Status (*validate)(const Request&, const RequestLimits&),
                   Request* request) {
  RETURN_IF_ERROR(ReadRequest(bytes, limits.max_message_bytes(), request));
  return validate(*request, limits);
}

class InferenceService final : public RawInference {
 public:
  explicit InferenceService(const ServingEnvironment* environment) : environment_(*environment) {}

  grpc::ServerWriteReactor<grpc::ByteBuffer>* Generate(grpc::CallbackServerContext* context,
                                                       const grpc::ByteBuffer* request) override {
    return StreamCall::Start(std::make_shared<GenerateCall>(&environment_, context), *request);
  }

  grpc::ServerWriteReactor<grpc::ByteBuffer>* Score(grpc::CallbackServerContext* context,
                                                    const grpc::ByteBuffer* request) override {
    return StreamCall::Start(std::make_shared<ScoreCall>(&environment_, context), *request);
  }

  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* bytes,
                                     grpc::ByteBuffer* response) override {
    auto request = std::make_shared<v1::TokenizeRequest>();
    const absl::Status checked =
        Parse(*bytes, environment_.limits, ValidateTokenize, request.get());
    return NewCall("Tokenize", context, response)
        ->RunOnTextPool(
            checked, request->ByteSizeLong(),
            [this, request](const std::atomic<bool>& cancelled, grpc::ByteBuffer* out) {
              ASSIGN_OR_RETURN(
                  const EncodedPrompt prompt,
                  EncodePrompt(*environment_.text, *request, cancelled, request->pieces()));
              v1::TokenizeResponse message;
              message.mutable_token_ids()->Add(prompt.token_ids.begin(), prompt.token_ids.end());
              message.set_text(prompt.text);
              for (const TokenPiece& piece : prompt.pieces) {
                v1::TokenPiece& added = *message.add_pieces();
                added.set_bytes(piece.bytes);
                added.set_begin(static_cast<int32_t>(piece.span.begin));
                added.set_end(static_cast<int32_t>(piece.span.end));
              }
              *out = SerializeMessage(message);
              return absl::OkStatus();
            });
  }

  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* bytes,
                                       grpc::ByteBuffer* response) override {
    auto request = std::make_shared<v1::DetokenizeRequest>();
    const absl::Status checked =
        Parse(*bytes, environment_.limits, ValidateDetokenize, request.get());
    return NewCall("Detokenize", context, response)
        ->RunOnTextPool(checked, request->ByteSizeLong(),
                        [this, request](const std::atomic<bool>&, grpc::ByteBuffer* out) {
                          v1::DetokenizeResponse message;
                          message.set_text(environment_.text->Decode(request->token_ids()));
                          *out = SerializeMessage(message);
                          return absl::OkStatus();
                        });
  }

  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* bytes,
                                     grpc::ByteBuffer* response) override {
    v1::GetModelRequest request;
    const absl::Status checked = Parse(*bytes, environment_.limits, ValidateGetModel, &request);
    return NewCall("GetModel", context, response)
        ->RunHere(checked, [this](const std::atomic<bool>&, grpc::ByteBuffer* out) {
          *out = SerializeMessage(DescribeModel());
          return absl::OkStatus();
        });
  }

  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* bytes,
                                       grpc::ByteBuffer* response) override {
    v1::ListModelsRequest request;
    const absl::Status checked =
        ReadRequest(*bytes, environment_.limits.max_message_bytes(), &request);
    return NewCall("ListModels", context, response)
        ->RunHere(checked, [this](const std::atomic<bool>&, grpc::ByteBuffer* out) {
          v1::ListModelsResponse message;
          *message.add_models() = DescribeModel();
          *out = SerializeMessage(message);
          return absl::OkStatus();
        });
  }

 private:
  UnaryCall* NewCall(const char* method, grpc::CallbackServerContext* context,
                     grpc::ByteBuffer* response) {
    return new UnaryCall(&environment_, method, context, response);
  }

  v1::Model DescribeModel() const {
    const RequestLimits limits = CurrentLimits(environment_);
    const ServedModel& served = environment_.model;
    v1::Model model;
    model.set_name(limits.model_name);
    model.set_architecture(served.architecture);
    model.set_context_tokens(limits.context_tokens);
    model.set_vocab_size(limits.vocab);
    model.mutable_eos_token_ids()->Add(served.eos_token_ids.begin(), served.eos_token_ids.end());
    WriteSampling(served.defaults.sampling, model.mutable_default_sampling());
    for (const UnfollowedDefault& unfollowed : served.defaults.unfollowed) {
      v1::UnfollowedDefault& added = *model.add_unfollowed_defaults();
      added.set_key(unfollowed.key);
      added.set_value(unfollowed.value);
    }
    if (limits.default_max_new_tokens > 0) {
      model.set_default_max_new_tokens(limits.default_max_new_tokens);
    }
    if (limits.default_max_length > 0) model.set_default_max_length(limits.default_max_length);
    model.set_has_chat_template(limits.has_chat_template);
    model.set_supports_tools(served.supports_tools);
    if (served.tool_call_format.has_value()) {
      model.set_tool_call_format(std::string(ToolCallFormatName(*served.tool_call_format)));
    }
    model.set_reasons(served.reasons);
    if (served.original_context_tokens > 0) *model.mutable_long_rope() = MakeLongRope(served);
    model.set_serving_groups(environment_.groups->CountGroups(GroupState::kServing));
    model.set_weights_digest(environment_.groups->ServingWeightsDigest());
    model.set_determinism(ToMessage(environment_.groups->ServingDeterminism()));
    for (const std::string& kind : environment_.groups->ServingArithmetic()) {
      model.add_arithmetic(kind);
    }
    DescribeServer(environment_, &model);
    return model;
  }

  const ServingEnvironment& environment_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeInferenceService(const ServingEnvironment* environment) {
  return std::make_unique<InferenceService>(environment);
}

}  // namespace phalanx
