#include "coordinator/text/tokenizer/token_spans.h"

#include <algorithm>
#include <string>

namespace phalanx {
namespace {

// Walks through the pieces with places of the form NFC that ascend.
class NfcWalk {
 public:
  explicit NfcWalk(absl::Span<const NfcPiece> pieces) : pieces_(pieces) {}

  // The place in the text of a span that begins at `at`, or ends there.
  size_t BeginAt(size_t at) {
    while (index_ < pieces_.size() && at >= nfc_at_ + pieces_[index_].nfc_bytes) Advance();
    return index_ < pieces_.size() && pieces_[index_].unchanged ? text_at_ + at - nfc_at_
                                                                : text_at_;
  }
  size_t EndAt(size_t at) {
    while (index_ < pieces_.size() && at > nfc_at_ + pieces_[index_].nfc_bytes) Advance();
    if (index_ == pieces_.size()) return text_at_;
    return pieces_[index_].unchanged ? text_at_ + at - nfc_at_
                                     : text_at_ + pieces_[index_].text_bytes;
  }

 private:
  void Advance() {
    nfc_at_ += pieces_[index_].nfc_bytes;
    text_at_ += pieces_[index_].text_bytes;
    ++index_;
  }

  const absl::Span<const NfcPiece> pieces_;
  size_t index_ = 0;
  // Where the piece of that index begins.
  size_t nfc_at_ = 0;
  size_t text_at_ = 0;
};

}  // namespace

void AppendSpans(const TokenizerAssets& assets, absl::string_view piece, size_t begin,
                 absl::Span<const int32_t> token_ids, std::vector<TextSpan>* spans) {
  size_t at = 0;
  for (const int32_t id : token_ids) {
    const std::string& bytes = assets.token_bytes[id];
    TextSpan span{begin + at, begin + at};
    for (size_t i = 0; i < bytes.size(); ++i) {
      // What is skipped has no token, so that it cannot be mistaken for a byte of this one.
      at = std::min(piece.find(bytes[i], at), piece.size() - 1);
      if (i == 0) span.begin = begin + at;
      ++at;
      span.end = begin + at;
    }
    spans->push_back(span);
  }
}

void MapFromNfc(absl::Span<const NfcPiece> pieces, size_t begin, absl::Span<TextSpan> spans) {
  // Two walks, since a span's end may lie beyond the beginning of the next.
  NfcWalk begins(pieces);
  NfcWalk ends(pieces);
  for (TextSpan& span : spans) {
    span.begin = begin + begins.BeginAt(span.begin);
    span.end = begin + std::max(ends.EndAt(span.end), span.begin - begin);
  }
}

}  // namespace phalanx
