#include "rpc/request_filter.h"

#include <algorithm>

#include "base/log.h"

namespace phalanx {
namespace {

constexpr absl::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// RFC 9113, section 6.
enum FrameType : unsigned char {
  kDataFrame = 0,
  kHeaders = 1,
  kResetStream = 3,
  kContinuation = 9
};
constexpr unsigned char kEndStreamFlag = 0x1;
constexpr unsigned char kPaddedFlag = 0x8;

constexpr int kLengthBytes = 4;
constexpr int kPrefixBytes = 1 + kLengthBytes;

uint32_t BigEndian(absl::Span<const unsigned char> bytes) {
  uint32_t value = 0;
  for (const unsigned char byte : bytes) value = value << 8 | byte;
  return value;
}

}  // namespace

RequestFilter::RequestFilter(int64_t max_message_bytes)
    : max_length_(static_cast<uint32_t>(max_message_bytes + 1)) {
  CHECK(max_message_bytes >= 0 && max_message_bytes < UINT32_MAX) << max_message_bytes;
}

bool RequestFilter::Filter(absl::Span<char> bytes) {
  while (!bytes.empty() && reason_.empty()) {
    size_t used = 0;
    switch (part_) {
      case Part::kPreface:
        used = ReadPreface(bytes);
        break;
      case Part::kFrameHeader:
        used = ReadFrameHeader(bytes);
        break;
      case Part::kPadLength:
        used = 1;
        --frame_bytes_left_;
        padding_bytes_ = static_cast<unsigned char>(bytes.front());
        part_ = Part::kData;
        EndFrameIfRead();
        break;
      case Part::kData:
        used = ReadData(bytes);
        break;
      case Part::kRest:
        used = std::min(bytes.size(), frame_bytes_left_);
        frame_bytes_left_ -= used;
        EndFrameIfRead();
        break;
      case Part::kForeign:
        return true;
    }
    bytes.remove_prefix(used);
  }
  return reason_.empty();
}

size_t RequestFilter::ReadPreface(absl::Span<char> bytes) {
  if (bytes.front() != kPreface[bytes_read_]) {
    part_ = Part::kForeign;
  } else if (++bytes_read_ == kPreface.size()) {
    bytes_read_ = 0;
    part_ = Part::kFrameHeader;
  }
  return 1;
}

size_t RequestFilter::ReadFrameHeader(absl::Span<char> bytes) {
  const size_t used = std::min(bytes.size(), header_.size() - bytes_read_);
  std::copy_n(bytes.begin(), used, header_.begin() + bytes_read_);
  bytes_read_ += used;
  if (bytes_read_ == header_.size()) {
    bytes_read_ = 0;
    BeginFrame();
    EndFrameIfRead();
  }
  return used;
}

void RequestFilter::BeginFrame() {
  const absl::Span<const unsigned char> header = header_;
  frame_bytes_left_ = BigEndian(header.subspan(0, 3));
  const unsigned char type = header_[3];
  const unsigned char flags = header_[4];
  stream_ = BigEndian(header.subspan(5)) & 0x7fffffff;
  ends_stream_ = false;
  padding_bytes_ = 0;
  part_ = Part::kRest;
  switch (type) {
    case kDataFrame:
      ends_stream_ = (flags & kEndStreamFlag) != 0;
      part_ = (flags & kPaddedFlag) != 0 ? Part::kPadLength : Part::kData;
      break;
    // HEADERS begins a block of headers, and each CONTINUATION adds to it.
    case kHeaders:
      header_bytes_ = 0;
      header_frames_ = 0;
      [[fallthrough]];
    case kContinuation:
      header_bytes_ += frame_bytes_left_;
      if (header_bytes_ > kMaxHeaderBytes || ++header_frames_ > kMaxHeaderFrames) {
        reason_ = "a block of headers without an end";
      }
      break;
    case kResetStream:
      partial_.erase(stream_);
      break;
    default:
      break;
  }
}

void RequestFilter::EndFrameIfRead() {
  if (frame_bytes_left_ > 0) return;
  // A message that its stream leaves unfinished will not go on.
  if (ends_stream_) partial_.erase(stream_);
  part_ = Part::kFrameHeader;
}

size_t RequestFilter::ReadData(absl::Span<char> bytes) {
  // The padding is not part of any message.
  if (frame_bytes_left_ <= padding_bytes_) {
    part_ = Part::kRest;
    return 0;
  }
  const size_t used = std::min(bytes.size(), frame_bytes_left_ - padding_bytes_);
  ReadMessages(bytes.first(used));
  frame_bytes_left_ -= used;
  EndFrameIfRead();
  return used;
}

void RequestFilter::ReadMessages(absl::Span<char> data) {
  // Messages need not end where frames do. Only one that is cut by the end of a frame is kept in
  // partial_; most are whole and never get there.
  const auto found = partial_.find(stream_);
  Message message = found == partial_.end() ? Message() : found->second;
  while (!data.empty()) {
    if (message.bytes_left > 0) {
      const size_t used = std::min<size_t>(data.size(), message.bytes_left);
      message.bytes_left -= static_cast<uint32_t>(used);
      data.remove_prefix(used);
      continue;
    }
    ReadPrefixByte(message, data.front());
    data.remove_prefix(1);
    if (message.prefix_bytes == kPrefixBytes) message = {.bytes_left = message.length};
  }
  const bool partial = message.prefix_bytes > 0 || message.bytes_left > 0;
  if (!partial) {
    if (found != partial_.end()) partial_.erase(found);
  } else if (found != partial_.end()) {
    found->second = message;
  } else if (partial_.size() == kMaxPartialMessages) {
    reason_ = "too many messages of which only a part has come";
  } else {
    partial_.emplace(stream_, message);
  }
}

// Replaces the length of a message by max_length_ if it is larger, byte by byte, since gRPC may
// have been given the first bytes before the last have come. The most important byte comes first:
// as long as the bytes are those of max_length_ the next one decides, and once one is larger, all
// that follow are replaced by those of max_length_.
void RequestFilter::ReadPrefixByte(Message& message, char& byte) const {
  const int place = message.prefix_bytes++;
  // The first byte is the flag for compression.
  if (place == 0) return;
  const auto value = static_cast<unsigned char>(byte);
  // The true length, since that many bytes will come.
  message.length = message.length << 8 | value;
  const auto most = static_cast<unsigned char>(max_length_ >> (8 * (kLengthBytes - place)));
  if (message.compared == 0) message.compared = (value > most) - (value < most);
  if (message.compared > 0) byte = static_cast<char>(most);
}

}  // namespace phalanx
