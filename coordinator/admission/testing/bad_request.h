// Tables of requests that validation refuses.
#ifndef PHALANX_COORDINATOR_ADMISSION_TESTING_BAD_REQUEST_H_
#define PHALANX_COORDINATOR_ADMISSION_TESTING_BAD_REQUEST_H_

#include <string>
#include <vector>

#include "coordinator/admission/limits.h"
#include "coordinator/admission/refusal.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

namespace phalanx {

inline RequestLimits Limits() {
  return {.model_name = "tiny",
          .vocab = 100,
          .context_tokens = 64,
          .has_chat_template = true,
          .max_messages = 3,
          .max_prompt_bytes = 20,
          .max_detokenize_tokens = 4};
}

template <typename Message>
Message Parse(const std::string& text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
  return message;
}

struct BadRequest {
  std::string request;
  // How the message begins: the field, and what is wrong with it.
  std::string message;
  absl::StatusCode code = absl::StatusCode::kInvalidArgument;
};

template <typename Request, typename Validate>
void ExpectRefused(const std::vector<BadRequest>& cases, Validate validate) {
  for (const BadRequest& bad : cases) {
    SCOPED_TRACE(bad.request);
    const absl::Status status = validate(Parse<Request>(bad.request), Limits());
    EXPECT_EQ(status.code(), bad.code);
    EXPECT_TRUE(KindOfRefusal(status).has_value()) << "would not be counted";
    EXPECT_THAT(std::string(status.message()), testing::StartsWith(bad.message));
  }
}

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_ADMISSION_TESTING_BAD_REQUEST_H_
