// What a client sends on an HTTP/2 connection, in pieces of any size. The first byte of the input
// chooses the size of the pieces, the rest follows HTTP/2's preface.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#include "absl/strings/string_view.h"
#include "base/log.h"
#include "rpc/request_filter.h"

namespace {

constexpr uint32_t kMaxMessageBytes = 300;
constexpr absl::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

struct Filtered {
  std::string bytes;
  bool cut = false;
};

Filtered Filter(const std::string& bytes, size_t piece_bytes) {
  phalanx::RequestFilter filter(kMaxMessageBytes);
  Filtered result{bytes};
  for (size_t i = 0; i < bytes.size() && !result.cut; i += piece_bytes) {
    result.cut = !filter.Filter(absl::MakeSpan(result.bytes).subspan(i, piece_bytes));
  }
  return result;
}

uint32_t BigEndian(absl::string_view bytes) {
  uint32_t value = 0;
  for (const char byte : bytes) value = value << 8 | static_cast<unsigned char>(byte);
  return value;
}

// The bytes of messages of each stream that does not end, as a server takes them from its frames.
std::map<uint32_t, std::string> StreamsOf(absl::string_view frames) {
  std::map<uint32_t, std::string> streams;
  while (frames.size() >= 9) {
    const size_t length = std::min<size_t>(BigEndian(frames.substr(0, 3)), frames.size() - 9);
    const char type = frames[3];
    const char flags = frames[4];
    const uint32_t stream = BigEndian(frames.substr(5, 4)) & 0x7fffffff;
    absl::string_view payload = frames.substr(9, length);
    frames.remove_prefix(9 + length);
    if (type == 0 && (flags & 8) != 0) {
      const size_t padding = payload.empty() ? 0 : static_cast<unsigned char>(payload.front());
      // Padding that is cut off by the end of the input is not told from data here.
      if (frames.empty() || padding >= payload.size()) payload = "";
      if (!payload.empty()) payload = payload.substr(1, payload.size() - 1 - padding);
    }
    if (type == 0) streams[stream].append(payload.data(), payload.size());
    if (type == 3 || (type == 0 && (flags & 1) != 0)) streams.erase(stream);
  }
  return streams;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string bytes =
      std::string(kPreface) + std::string(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Filtered whole = Filter(bytes, bytes.size());
  CHECK(whole.bytes.size() == bytes.size());
  const Filtered pieces = Filter(bytes, 1 + data[0] % 32);
  CHECK(pieces.cut == whole.cut);
  if (whole.cut) return 0;
  CHECK(pieces.bytes == whole.bytes) << "it depends on how the bytes are cut into pieces";

  const auto before = StreamsOf(absl::string_view(bytes).substr(kPreface.size()));
  const auto after = StreamsOf(absl::string_view(whole.bytes).substr(kPreface.size()));
  CHECK(before.size() == after.size());
  for (const auto& [stream, sent] : before) {
    const std::string& seen = after.at(stream);
    CHECK(seen.size() == sent.size());
    for (size_t place = 0; place + 5 <= sent.size();) {
      const uint32_t announced = BigEndian(absl::string_view(sent).substr(place + 1, 4));
      const uint32_t told = BigEndian(absl::string_view(seen).substr(place + 1, 4));
      CHECK(told == std::min(announced, kMaxMessageBytes + 1)) << announced << " became " << told;
      const size_t end = std::min(place + 5 + announced, sent.size());
      CHECK(sent.compare(place + 5, end - place - 5, seen, place + 5, end - place - 5) == 0);
      place = end;
    }
  }
  return 0;
}
