// What holds for whatever a parser makes of any input. A property that does not hold ends the
// process.
#ifndef PHALANX_TESTS_FUZZ_PROPERTIES_H_
#define PHALANX_TESTS_FUZZ_PROPERTIES_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/files/tensor.h"
#include "model/spec/spec.h"
#include "model/text/tokenizer_assets.h"

namespace phalanx {

// `status` is an error that names `path`, of a kind that tells of a bad file; or it is OK.
void CheckError(const absl::Status& status, absl::string_view path);

// Every tensor has elements, and all of its bytes can be read.
void CheckTensors(absl::Span<const TensorView> tensors);

// Dimensions are in bounds, and for worlds of every size the parts of the ranks are the whole.
void CheckSpec(const ModelSpec& spec);

// Ids are in the vocabulary, and a tokenizer that can be made of them encodes text into tokens that
// decode to the same text, or fails with a status.
void CheckTokenizer(TokenizerAssets assets);

}  // namespace phalanx

#endif  // PHALANX_TESTS_FUZZ_PROPERTIES_H_
