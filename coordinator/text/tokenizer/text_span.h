// A part of a text.
#ifndef PHALANX_COORDINATOR_TEXT_TOKENIZER_TEXT_SPAN_H_
#define PHALANX_COORDINATOR_TEXT_TOKENIZER_TEXT_SPAN_H_

#include <cstddef>

namespace phalanx {

// Bytes [begin, end) of a text.
struct TextSpan {
  size_t begin = 0;
  size_t end = 0;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_TOKENIZER_TEXT_SPAN_H_
