"""What the API has beside prompt and sampling, on the real model: choices, prefills, the form of the
prompt, pieces, ids and errors. docs/api.md."""

import grpc
from harness import GREEDY, chat, pb

FREE = {"temperature": 1, "top_k": 0, "top_p": 1}


def choices(stream):
    """The tokens of each choice, by its index."""
    tokens, finished = {}, {}
    for event in stream:
        kind = event.WhichOneof("event")
        if kind == "delta":
            assert event.delta.choice not in finished
            tokens.setdefault(event.delta.choice, []).extend(event.delta.token_ids)
        elif kind == "finished":
            finished[event.finished.choice] = event.finished
    for choice, end in finished.items():
        assert end.usage.completion_tokens == len(tokens[choice])
    return tokens, finished


def alone(stub, request):
    return choices(stub.Generate(request))[0][0]


def test_each_choice_is_what_its_seed_gets_alone(stub):
    def request(seed, **options):
        return chat(
            "Write a sentence about the sea. " * 8,
            sampling=pb.Sampling(seed=seed, **FREE),
            max_new_tokens=24,
            **options,
        )

    tokens, finished = choices(stub.Generate(request(40, n=5)))
    assert sorted(finished) == [0, 1, 2, 3, 4]
    for choice in range(5):
        assert tokens[choice] == alone(stub, request(40 + choice))
    assert len({tuple(answer) for answer in tokens.values()}) > 1
    assert len({end.usage.prompt_tokens for end in finished.values()}) == 1


def test_an_answer_goes_on_where_the_last_message_ends(stub):
    question = chat("What is the capital of France?", sampling=GREEDY, max_new_tokens=12)
    whole = alone(stub, question)
    text = stub.Detokenize(pb.DetokenizeRequest(token_ids=whole[:4])).text
    question.chat.messages.add(role="assistant", content=text)
    question.chat.continue_last_message = True
    question.max_new_tokens = 4
    assert alone(stub, question) == whole[4:8]


def test_template_arguments_and_bos_reach_the_prompt(stub):
    request = pb.TokenizeRequest(chat=chat("Hi").chat)
    plain = stub.Tokenize(request)
    request.chat.template_arguments = '{"unused": 1}'
    assert stub.Tokenize(request).token_ids == plain.token_ids
    text = pb.TokenizeRequest(text="Hi", add_bos=True)
    with_bos = list(stub.Tokenize(text).token_ids)
    text.add_bos = False
    assert with_bos[1:] == list(stub.Tokenize(text).token_ids)
    assert len(with_bos) >= 2


def test_pieces_are_the_bytes_of_the_text(stub):
    reply = stub.Tokenize(pb.TokenizeRequest(text="naïve 東京 😀 x", add_bos=False, pieces=True))
    text = reply.text.encode()
    assert b"".join(piece.bytes for piece in reply.pieces) == text
    for piece in reply.pieces:
        assert text[piece.begin : piece.end] == piece.bytes
    assert len(reply.pieces) == len(reply.token_ids)


def test_a_model_tells_what_it_can_do(stub):
    model = stub.GetModel(pb.GetModelRequest())
    assert {"n", "chat", "continue_last_message", "add_bos"} <= set(model.features)
    assert model.limits.max_choices == 16
    assert len(model.fingerprint) == 16
    assert model.server_version


def test_ids_and_details_come_with_answers_and_errors(stub):
    own = [("x-request-id", "e2e/1")]
    stream = stub.Generate(chat("Hi", sampling=GREEDY, max_new_tokens=1), metadata=own)
    assert dict(stream.initial_metadata())["x-request-id"] == "e2e/1"
    assert next(iter(stream)).started.request_id == "e2e/1"
    list(stream)
    bad = stub.Generate(chat("Hi", sampling=pb.Sampling(temperature=-1)), metadata=own)
    try:
        list(bad)
        raise AssertionError("it was not refused")
    except grpc.RpcError as error:
        details = dict(error.trailing_metadata())["grpc-status-details-bin"]
    for word in (b"OUT_OF_RANGE", b"sampling.temperature", b"e2e/1"):
        assert word in details
