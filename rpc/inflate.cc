#include "rpc/inflate.h"

#include <zlib.h>

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace phalanx {
namespace {

// The largest window that a stream may want. zlib expects a header of gzip if 16 is added.
constexpr int kWindowBits = 15;
constexpr int kGzipHeader = 16;
constexpr int64_t kMinOutputBytes = 4096;

class Inflater {
 public:
  explicit Inflater(Compression compression) {
    usable_ = inflateInit2(&stream_, kWindowBits + (compression == Compression::kGzip ? kGzipHeader
                                                                                      : 0)) == Z_OK;
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
  ~Inflater() {
    if (usable_) inflateEnd(&stream_);
  }

  absl::StatusOr<std::string> Run(absl::string_view compressed, int64_t max_bytes) {
    if (!usable_) return absl::ResourceExhaustedError("no memory to decompress the request");
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(compressed.data()));
    stream_.avail_in = static_cast<uInt>(compressed.size());
    std::string out;
    // The output grows only as it is filled, so that few bytes cannot ask for much memory. It may
    // become one byte larger than the limit, which shows that there is too much.
    int64_t size = std::clamp<int64_t>(4 * static_cast<int64_t>(compressed.size()), kMinOutputBytes,
                                       max_bytes + 1);
    while (true) {
      const size_t done = out.size();
      out.resize(static_cast<size_t>(size));
      stream_.next_out = reinterpret_cast<Bytef*>(out.data() + done);
      stream_.avail_out = static_cast<uInt>(out.size() - done);
      const int result = inflate(&stream_, Z_NO_FLUSH);
      out.resize(out.size() - stream_.avail_out);
      if (static_cast<int64_t>(out.size()) > max_bytes) {
        return absl::InvalidArgumentError(absl::StrCat(
            "request: its ", compressed.size(), " compressed bytes are more than ", max_bytes,
            " when decompressed, which is the most that a request may have"));
      }
      // Bytes behind the end of the stream are an error too.
      if (result == Z_STREAM_END && stream_.avail_in == 0) return out;
      const bool wants_room = result == Z_OK && stream_.avail_out == 0;
      if (!wants_room) {
        return absl::InvalidArgumentError(
            absl::StrCat("request: its ", compressed.size(),
                         " bytes are not compressed as its headers say: malformed or truncated"));
      }
      size = std::min(2 * size, max_bytes + 1);
    }
  }

 private:
  z_stream stream_ = {};
  bool usable_;
};

}  // namespace

absl::StatusOr<std::string> Inflate(absl::string_view compressed, Compression compression,
                                    int64_t max_bytes) {
  return Inflater(compression).Run(compressed, max_bytes);
}

}  // namespace phalanx
