"""A gRPC client that does what a gRPC library would not: bytes that are compressed already, pings at will,
connections by the hundred, deadlines that its own timer would not let go out."""

import select
import socket
import struct
import time

import h2.config
import h2.connection
import h2.events
from harness import PATIENCE_SECONDS


def connect(target):
    """A TCP connection to a program's HOST:PORT."""
    host, port = target.rsplit(":", 1)
    return socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE_SECONDS)


def hear_out(clients, seconds):
    """Takes in what the servers of these connections send for so long. Fails as soon as one of them has said that it
    ends the connection (GOAWAY), or has ended it."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        for client in select.select(clients, [], [], left)[0]:
            client.receive()
            assert client.goaway is None, client.goaway


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
        # By stream: the status code, a number, and the message that its call ended with.
        self.statuses = {}

    def close(self):
        self._socket.close()

    def fileno(self):
        """For select."""
        return self._socket.fileno()

    def begin(self, method, message, encoding=None, timeout=None, announced=None):
        """Starts a call with its only message and returns the stream's number. `encoding` is what the bytes of
        the message are compressed with; `timeout` is the call's, as on the wire: "1n" is a nanosecond;
        `announced` is the message's length, as the server is told, if it is not the true one. Leaves off
        when the call ends before all is sent."""
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
        length = len(message) if announced is None else announced
        data = memoryview(struct.pack(">BI", encoding is not None, length) + message)
        while len(data) and stream not in self.statuses:
            room = min(
                self._http2.local_flow_control_window(stream), self._http2.max_outbound_frame_size
            )
            if room == 0:
                self._flush()
                self.receive()
                continue
            self._http2.send_data(stream, bytes(data[:room]), end_stream=room >= len(data))
            data = data[room:]
        self._flush()
        return stream

    def call(self, method, message, encoding=None, announced=None):
        """Runs a call and returns its status code, a number, and its message."""
        stream = self.begin(method, message, encoding, announced=announced)
        while stream not in self.statuses:
            self.receive()
        return self.statuses[stream]

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
            elif isinstance(event, (h2.events.ResponseReceived, h2.events.TrailersReceived)):
                headers = dict(event.headers)
                if "grpc-status" in headers:
                    status = int(headers["grpc-status"]), headers.get("grpc-message", "")
                    self.statuses[event.stream_id] = status
            elif isinstance(event, h2.events.StreamReset):
                assert event.stream_id in self.statuses, "the stream was reset"
            elif isinstance(event, h2.events.PingAckReceived):
                self.pongs += 1
            elif isinstance(event, h2.events.ConnectionTerminated):
                self.goaway = event.additional_data or b"GOAWAY"
        self._flush()
        return events

    def _flush(self):
        self._socket.sendall(self._http2.data_to_send())


def frame(kind, flags, stream, data):
    return len(data).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + data


def announce_a_gigabyte_of_header(target, seconds, most_bytes):
    """CVE-2023-33953: one header field announced as 1 GiB, its bytes sent in CONTINUATION frames, slowly.
    Returns how many were taken before the connection was cut."""
    headers, continuation, settings = 1, 9, 4
    # :method POST, :scheme http, then a literal "a" whose value has 2^30 bytes.
    block = b"\x83\x86\x00\x01a\x7f\x81\xff\xff\xff\x03"
    sent = 0
    with connect(target) as attacker:
        attacker.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(settings, 0, 0, b""))
        attacker.sendall(frame(headers, 0, 1, block + b"x" * 1000))
        deadline = time.monotonic() + seconds
        try:
            while time.monotonic() < deadline and sent < most_bytes:
                attacker.sendall(frame(continuation, 0, 1, b"x" * 16000))
                sent += 16000
                # A millisecond for the answer. The end of the connection shows here too.
                if select.select([attacker], [], [], 0.001)[0] and not attacker.recv(1 << 16):
                    break
        except OSError:
            pass
    return sent
