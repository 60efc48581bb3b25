"""A gRPC client that does what a gRPC library would not: bytes that are compressed already, pings at will,
connections by the hundred, deadlines that its own timer would not let go out."""

import socket
import struct

import h2.config
import h2.connection
import h2.events
from harness import PATIENCE_SECONDS


def connect(target):
    """A TCP connection to a program's HOST:PORT."""
    host, port = target.rsplit(":", 1)
    return socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE_SECONDS)


class Http2Client:
    """One connection that speaks HTTP/2."""

    def __init__(self, target):
        self._socket = connect(target)
        self._http2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._http2.initiate_connection()
        self._flush()
        self.pongs = 0
        # The debug text of a GOAWAY, if one came.
        self.goaway = None

    def close(self):
        self._socket.close()

    def begin(self, method, message, encoding=None, timeout=None):
        """Starts a call with its only message and returns the stream's number. `encoding` is what the bytes of
        the message are compressed with; `timeout` is the call's, as on the wire: "1n" is a nanosecond."""
        stream = self._http2.get_next_available_stream_id()
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "test"),
            (":path", method),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]
        if encoding is not None:
            headers.append(("grpc-encoding", encoding))
        if timeout is not None:
            headers.append(("grpc-timeout", timeout))
        self._http2.send_headers(stream, headers)
        data = struct.pack(">BI", encoding is not None, len(message)) + message
        while data:
            room = min(
                self._http2.local_flow_control_window(stream), self._http2.max_outbound_frame_size
            )
            if room == 0:
                self._flush()
                self.receive()
                continue
            self._http2.send_data(stream, data[:room], end_stream=room >= len(data))
            data = data[room:]
        self._flush()
        return stream

    def call(self, method, message, encoding=None):
        """Runs a call and returns its status code, a number, and its message."""
        stream = self.begin(method, message, encoding)
        while True:
            for event in self.receive():
                if getattr(event, "stream_id", None) != stream:
                    continue
                headers = dict(getattr(event, "headers", None) or [])
                if "grpc-status" in headers:
                    return int(headers["grpc-status"]), headers.get("grpc-message", "")
                assert not isinstance(event, h2.events.StreamReset), "the stream was reset"

    def ping(self):
        self._http2.ping(b"12345678")
        self._flush()

    def receive(self):
        """Waits for bytes and returns their events."""
        data = self._socket.recv(1 << 16)
        assert data, "the server closed the connection"
        events = self._http2.receive_data(data)
        for event in events:
            if isinstance(event, h2.events.DataReceived):
                self._http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.PingAckReceived):
                self.pongs += 1
            elif isinstance(event, h2.events.ConnectionTerminated):
                self.goaway = event.additional_data or b"GOAWAY"
        self._flush()
        return events

    def _flush(self):
        self._socket.sendall(self._http2.data_to_send())
