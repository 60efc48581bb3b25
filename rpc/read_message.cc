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

// What is built of a request may take this many times the limit on its bytes. Texts take as much as
// on the wire, and a number of two bytes takes four to eight in a list.
constexpr int64_t kBuiltPerByte = 2;

// gRPC keeps the kind of compression beside the bytes, where only a class that is derived from
// ProtoBufferReader can read it.
class CompressionReader : public grpc::ProtoBufferReader {
 public:
  using ProtoBufferReader::ProtoBufferReader;
  grpc_compression_algorithm algorithm() { return reader()->buffer_in->data.raw.compression; }
};

absl::Status ParseFlat(absl::string_view bytes, int64_t max_bytes, UnknownFields unknown_fields,
                       google::protobuf::Message* message) {
  ASSIGN_OR_RETURN(const MessageCost cost,
                   MeasureMessage(*message, bytes, kBuiltPerByte * max_bytes));
  if (!message->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return absl::InvalidArgumentError(
        absl::StrCat("request: the ", bytes.size(), " bytes are no ", message->GetTypeName(),
                     ": truncated, malformed, or with a string that is not UTF-8"));
  }
  if (cost.unknown_field.empty()) return absl::OkStatus();
  if (unknown_fields == UnknownFields::kRefuse) {
    return absl::InvalidArgumentError(
        absl::StrCat(cost.unknown_field, ": this server does not know that field of ",
                     message->GetTypeName(), ", or not as this type; is the caller newer?"));
  }
  // They would stay in memory as long as the request, and nobody reads them.
  message->DiscardUnknownFields();
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadMessage(const grpc::ByteBuffer& bytes, int64_t max_bytes,
                         google::protobuf::Message* message, UnknownFields unknown_fields) {
  if (static_cast<int64_t>(bytes.Length()) > max_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("request: its ", bytes.Length(),
                                                   " bytes are more than the ", max_bytes,
                                                   " that it may have"));
  }
  // Shares the bytes. ProtoBufferReader wants a buffer that is not const.
  grpc::ByteBuffer lent = bytes;
  CompressionReader reader(&lent);
  grpc::Slice slice;
  if (!reader.status().ok() || !lent.DumpToSingleSlice(&slice).ok()) {
    // gRPC passes a message that it refused to read on like this, and its own status for the call
    // may come after the one of this call. So both are the same.
    return absl::ResourceExhaustedError(
        absl::StrCat("request: larger than max (", max_bytes, " bytes), or missing"));
  }
  const absl::string_view flat(reinterpret_cast<const char*>(slice.begin()), slice.size());
  switch (reader.algorithm()) {
    case GRPC_COMPRESS_NONE:
      return ParseFlat(flat, max_bytes, unknown_fields, message);
    case GRPC_COMPRESS_GZIP:
    case GRPC_COMPRESS_DEFLATE: {
      const bool gzip = reader.algorithm() == GRPC_COMPRESS_GZIP;
      ASSIGN_OR_RETURN(const std::string inflated,
                       Inflate(flat, gzip ? Compression::kGzip : Compression::kZlib, max_bytes));
      return ParseFlat(inflated, max_bytes, unknown_fields, message);
    }
    default:
      return absl::InvalidArgumentError("request: compressed in a way that this server lacks");
  }
}

}  // namespace phalanx
