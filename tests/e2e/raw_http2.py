"""A gRPC call by hand, for what no gRPC client would send."""

import socket
import struct

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from harness import PATIENCE_SECONDS


def call_with_timeout_header(target, path, message, timeout_header):
    """Sends one message to a method and returns once the server has ended the stream.

    timeout_header is the value of grpc-timeout as on the wire, "1n" for a nanosecond. A client of
    gRPC would not send such a call: its own timer ends it.
    """
    host, port = target.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS) as sock:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        connection.initiate_connection()
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", target),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("grpc-timeout", timeout_header),
        ]
        stream = connection.get_next_available_stream_id()
        connection.send_headers(stream, headers)
        connection.send_data(stream, struct.pack(">BI", 0, len(message)) + message, end_stream=True)
        sock.sendall(connection.data_to_send())
        try:
            while data := sock.recv(1 << 16):
                ends = (h2.events.StreamEnded, h2.events.StreamReset)
                if any(isinstance(event, ends) for event in connection.receive_data(data)):
                    return
                sock.sendall(connection.data_to_send())
        except h2.exceptions.StreamClosedError:
            # gRPC may reset the stream and send its trailers behind that.
            return
    raise AssertionError("the server closed the connection before the call had ended")
