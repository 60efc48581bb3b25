#include "rpc/read_message.h"

#include <grpc/compression.h>
#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/slice.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "rpc/inflate.h"
#include "rpc/message_cost.h"

namespace phalanx {
namespace {

// Two bytes of wire are four to eight of a list of numbers, and texts are what they are.
constexpr int64_t kBuiltPerByte = 2;

// The only way to what gRPC notes beside the bytes.
class CompressionReader : public grpc::ProtoBufferReader {
 public:
  using ProtoBufferReader::ProtoBufferReader;
  grpc_compression_algorithm algorithm() { return reader()->buffer_in->data.raw.compression; }
};

absl::Status ParseFlat(absl::string_view bytes, int64_t max_bytes,
                       google::protobuf::Message* message) {
  ASSIGN_OR_RETURN(const MessageCost cost,
                   MeasureMessage(*message, bytes, kBuiltPerByte * max_bytes));
  if (!message->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return absl::InvalidArgumentError(
        absl::StrCat("request: the ", bytes.size(), " bytes are no ", message->GetTypeName(),
                     ": truncated, malformed, or with a string that is not UTF-8"));
  }
  if (cost.has_unknown_fields) message->DiscardUnknownFields();
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadMessage(const grpc::ByteBuffer& bytes, int64_t max_bytes,
                         google::protobuf::Message* message) {
  if (static_cast<int64_t>(bytes.Length()) > max_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("request: its ", bytes.Length(),
                                                   " bytes are more than the ", max_bytes,
                                                   " that it may have"));
  }
  grpc::ByteBuffer lent = bytes;  // By reference; the reader wants a mutable one.
  CompressionReader reader(&lent);
  grpc::Slice slice;
  if (!reader.status().ok() || !lent.DumpToSingleSlice(&slice).ok()) {
    // So gRPC hands on a message that it refused to read; its own refusal may come later than ours.
    return absl::ResourceExhaustedError(
        absl::StrCat("request: larger than max (", max_bytes, " bytes), or missing"));
  }
  const absl::string_view flat(reinterpret_cast<const char*>(slice.begin()), slice.size());
  switch (reader.algorithm()) {
    case GRPC_COMPRESS_NONE:
      return ParseFlat(flat, max_bytes, message);
    case GRPC_COMPRESS_GZIP:
    case GRPC_COMPRESS_DEFLATE: {
      const bool gzip = reader.algorithm() == GRPC_COMPRESS_GZIP;
      ASSIGN_OR_RETURN(const std::string inflated,
                       Inflate(flat, gzip ? Compression::kGzip : Compression::kZlib, max_bytes));
      return ParseFlat(inflated, max_bytes, message);
    }
    default:
      return absl::InvalidArgumentError("request: compressed in a way that this server lacks");
  }
}

}  // namespace phalanx
