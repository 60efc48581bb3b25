// Bounds on what a client may make gRPC hold before any code of a method runs.
#ifndef PHALANX_RPC_REQUEST_FILTER_H_
#define PHALANX_RPC_REQUEST_FILTER_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace phalanx {

// Reads along with one HTTP/2 connection, from client to server, and changes or ends what would
// cost the server too much. gRPC 1.51 takes in a whole message before it looks at its size, and
// parses a block of headers from its beginning again with every frame that continues it
// (CVE-2023-33953).
//
// - A message that announces more than `max_message_bytes` is made to announce one byte more than
//   these. So gRPC stops reading there and answers RESOURCE_EXHAUSTED, as it does by itself for a
//   message of that size. The number of bytes stays the same, so flow control notices nothing.
// - A connection that does what no client has a reason to do is to be cut off: a block of headers
// of
//   more than kMaxHeaderBytes or kMaxHeaderFrames, or more than kMaxPartialMessages messages of
//   which only a part has come.
//
// Frames are as in RFC 9113, section 4.1. The messages in DATA frames are a flag byte, a length of
// four bytes, the most important first, and the content (gRPC over HTTP2,
// "Length-Prefixed-Message"). Bytes that are not HTTP/2 pass: gRPC refuses them itself. Not
// thread-safe.
class RequestFilter {
 public:
  // gRPC itself refuses headers of more than 8 KiB, with a status.
  static constexpr size_t kMaxHeaderBytes = 64 << 10;
  static constexpr int kMaxHeaderFrames = 16;
  static constexpr size_t kMaxPartialMessages = 4096;

  // `max_message_bytes` must be less than 2^32 - 1.
  explicit RequestFilter(int64_t max_message_bytes);

  // Takes the next bytes of the connection, however they are cut into pieces, and changes them in
  // place. False if the connection is to be cut off: these bytes and all later ones must not be
  // used.
  [[nodiscard]] bool Filter(absl::Span<char> bytes);

  // Why Filter returned false, for a log.
  absl::string_view reason() const { return reason_; }

 private:
  enum class Part { kPreface, kFrameHeader, kPadLength, kData, kRest, kForeign };

  // A message that has not come whole.
  struct Message {
    int prefix_bytes = 0;
    // How the bytes of the length that have come compare with the first bytes of max_length_:
    // below (-1), equal (0) or above (1).
    int compared = 0;
    uint32_t length = 0;
    uint32_t bytes_left = 0;
  };

  // ReadPreface, ReadFrameHeader and ReadData take some of `bytes` and return how many.
  size_t ReadPreface(absl::Span<char> bytes);
  size_t ReadFrameHeader(absl::Span<char> bytes);
  size_t ReadData(absl::Span<char> bytes);

  void BeginFrame();
  // To be called when bytes of a frame have been read, which may have been its last.
  void EndFrameIfRead();
  void ReadMessages(absl::Span<char> data);
  void ReadPrefixByte(Message& message, char& byte) const;

  // The length that a message with a greater one is made to announce.
  const uint32_t max_length_;
  absl::string_view reason_;

  Part part_ = Part::kPreface;
  // How much of the preface, or of the header of a frame, has come.
  size_t bytes_read_ = 0;
  std::array<unsigned char, 9> header_;
  // stream_, ends_stream_, frame_bytes_left_ and padding_bytes_ are about the frame that is being
  // read: its stream, whether it is the last of the stream, how many of its bytes are still to
  // come, and how many of those are the padding at its end.
  uint32_t stream_ = 0;
  bool ends_stream_ = false;
  size_t frame_bytes_left_ = 0;
  size_t padding_bytes_ = 0;
  // The bytes and frames so far of the block of headers that is being read.
  size_t header_bytes_ = 0;
  int header_frames_ = 0;
  // Messages of which only a part has come, by stream.
  absl::flat_hash_map<uint32_t, Message> partial_;
};

}  // namespace phalanx

#endif  // PHALANX_RPC_REQUEST_FILTER_H_
