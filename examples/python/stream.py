"""Streams the answer to a question: stream.py 127.0.0.1:50051 "Why is the sky blue?"."""

import sys

import grpc

from phalanx.v1 import inference_pb2, inference_pb2_grpc

target, question = sys.argv[1:]
request = inference_pb2.GenerateRequest(
    chat=inference_pb2.Chat(
        messages=[inference_pb2.Message(role="user", content=question)]
    ),
    max_new_tokens=200,
)
try:
    with grpc.insecure_channel(target) as channel:
        stub = inference_pb2_grpc.InferenceStub(channel)
        for event in stub.Generate(request, timeout=60):
            print(event.delta.text, end="", flush=True)
            if event.HasField("finished"):
                print(f"\n[{event.finished.usage.completion_tokens} tokens]")
except grpc.RpcError as error:
    sys.exit(f"{error.code().name}: {error.details()}")
