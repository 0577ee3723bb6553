"""What clients get is what the model says: the real `openai` package against a running server."""

import asyncio
import json
from dataclasses import replace

import openai
import pytest
import torch
from tests.generation.test_engine import written

from minigpt2.generation import Engine, Piece, Sampling, Token, generate
from minigpt2.server.replies import Completion
from minigpt2.tokenizers import NEXT_TURN, ByteTokenizer, transcript

OPENAI = Sampling(max_new_tokens=16, temperature=1.0, overflow="error")


def ask(running):
    return openai.OpenAI(base_url=f"{running.url}/v1", api_key="unused", max_retries=0)


@pytest.fixture(scope="module")
def client(served):
    with ask(served) as one:
        yield one


def whole(model, tokenizer, prompt, **settings):
    return "".join(generate(model, tokenizer, prompt, replace(OPENAI, **settings)))


@pytest.mark.parametrize("name", ["fox", "words"])
def test_a_completion_is_what_the_engine_writes(client, models, name):
    model, tokenizer = models[name]
    for settings, sampling in [
        ({"seed": 3}, {"seed": 3}),
        ({"temperature": 0, "max_tokens": 9}, {"temperature": 0, "max_new_tokens": 9}),
        ({"seed": -1}, {"seed": (1 << 63) - 1}),
        ({"seed": 4, "top_p": 0.7, "extra_body": {"top_k": 7, "min_p": 0.01, "typical_p": 0.9}},
         {"seed": 4, "top_p": 0.7, "top_k": 7, "min_p": 0.01, "typical_p": 0.9}),
        ({"seed": 5, "presence_penalty": 1.5, "frequency_penalty": 0.5,
          "extra_body": {"repetition_penalty": 1.2}},
         {"seed": 5, "presence_penalty": 1.5, "frequency_penalty": 0.5, "repetition_penalty": 1.2}),
        ({"seed": 6, "logit_bias": {"5": 4.0}}, {"seed": 6, "logit_bias": ((5, 4.0),)}),
        ({"seed": 7, "extra_body": {"top_k": -1, "unheard_of": [1]}}, {"seed": 7}),
    ]:  # fmt: skip
        got = client.completions.create(model=name, prompt="the quick", **settings)
        assert got.choices[0].text == whole(model, tokenizer, "the quick", **sampling)
        assert (got.object, got.model, got.id[:5]) == ("text_completion", name, "cmpl-")
        read, wrote = got.usage.prompt_tokens, got.usage.completion_tokens
        assert read == len(tokenizer.encode("the quick")) and wrote <= 16
        assert got.usage.total_tokens == read + wrote


def test_choices_are_in_the_order_of_prompts_and_samples(client, models):
    model, tokenizer = models["fox"]
    got = client.completions.create(model="fox", prompt=["a", "the fox"], n=3, seed=11)
    assert [choice.index for choice in got.choices] == list(range(6))
    wanted = [
        whole(model, tokenizer, prompt, seed=11 + j)
        for prompt in ("a", "the fox")
        for j in range(3)
    ]
    assert [choice.text for choice in got.choices] == wanted


def test_prompts_may_be_ids_or_nothing(client, models):
    model, tokenizer = models["words"]
    ids = tokenizer.encode("the lazy")
    one = client.completions.create(model="words", prompt=ids, seed=1)
    two = client.completions.create(model="words", prompt=[ids, ids[:1]], seed=1, echo=True)
    assert one.choices[0].text == whole(model, tokenizer, "the lazy", seed=1)
    assert two.choices[0].text == "the lazy" + one.choices[0].text
    nothing = client.completions.create(model="words", prompt=None, seed=2)
    empty = client.completions.create(model="words", prompt="", seed=2)
    assert nothing.choices[0].text == empty.choices[0].text == whole(model, tokenizer, "", seed=2)


@pytest.mark.parametrize("name", ["fox", "words"])
@pytest.mark.parametrize("streamed", [False, True])
def test_echo_scores_every_token_as_the_model_does(client, models, name, streamed):
    model, tokenizer = models[name]
    ids = tokenizer.encode("the quick brown")
    request = {"model": name, "prompt": ids, "max_tokens": 3, "temperature": 0, "n": 2}
    got = client.completions.create(**request, logprobs=2, echo=True, stream=streamed)
    told = {0: ([], [], [], [], ""), 1: ([], [], [], [], "")}
    for part in got if streamed else [got]:
        for choice in part.choices:
            tokens, values, tops, offsets, text = told[choice.index]
            known = choice.logprobs
            told[choice.index] = (
                tokens + known.tokens, values + known.token_logprobs, tops + known.top_logprobs,
                offsets + known.text_offset, text + choice.text,
            )  # fmt: skip
    new = written(model, ids, replace(OPENAI, temperature=0, max_new_tokens=3))
    logprobs = model(torch.tensor([ids + new]))[0].log_softmax(dim=1)
    for tokens, values, tops, offsets, text in told.values():
        assert len(tokens) == len(ids) + 3 and text == tokenizer.decode(ids + new)
        assert values[0] is None and tops[0] is None
        for place, (token_id, value) in enumerate(zip((ids + new)[1:], values[1:], strict=True)):
            assert value == pytest.approx(logprobs[place, token_id].item(), abs=1e-4)
            top = tops[place + 1]
            assert top[tokens[place + 1]] == value and 2 <= len(top) <= 3
            assert max(top.values()) == pytest.approx(logprobs[place].max().item(), abs=1e-4)
        for token, offset in zip(tokens, offsets, strict=True):
            assert text[offset:].startswith(token)
        # The greedy token's two values are one float: clients compare them.
        for value, top in zip(values[-3:], tops[-3:], strict=True):
            assert value == max(top.values())


def test_scoring_alone_writes_nothing(client, models):
    _, tokenizer = models["fox"]
    got = client.completions.create(
        model="fox", prompt="the fox", max_tokens=0, echo=True, logprobs=0
    )
    choice = got.choices[0]
    assert (choice.text, choice.finish_reason) == ("the fox", "length")
    assert len(choice.logprobs.tokens) == len(tokenizer.encode("the fox"))
    assert got.usage.completion_tokens == 0


def test_a_prompt_that_leaves_one_place_works(client):
    got = client.completions.create(
        model="fox", prompt=[3] * 36, max_tokens=1, temperature=0, logprobs=1, echo=True
    )
    assert len(got.choices[0].logprobs.token_logprobs) == 37


def test_half_characters_have_names_of_their_own(client):
    got = client.completions.create(
        model="talk", prompt="é", max_tokens=0, echo=True, logprobs=0
    ).choices[0]
    assert got.logprobs.tokens == ["bytes:\\xc3", "bytes:\\xa9"]
    assert (got.text, got.logprobs.text_offset) == ("é", [0, 0])


def test_the_end_of_a_text_is_kept_among_the_tokens(client, models):
    """A client that scores reads the arrays up to the last: the last must be there."""
    _, tokenizer = models["words"]
    bias = {str(tokenizer.eos_id): 1000}
    got = client.completions.create(
        model="words", prompt="the", max_tokens=4, echo=True, logprobs=1, logit_bias=bias
    ).choices[0]
    assert got.finish_reason == "stop" and got.text == "the"
    assert got.logprobs.tokens[-1] == "<|endoftext|>"
    more = client.completions.create(
        model="words", prompt="the", max_tokens=4, logit_bias=bias, logprobs=0,
        extra_body={"ignore_eos": True},
    ).choices[0]  # fmt: skip
    assert more.finish_reason == "length" and len(more.logprobs.tokens) == 4


def test_what_stands_behind_a_broken_character_is_told_where_it_is(client):
    got = client.completions.create(
        model="talk", prompt=[0xC3, 0x2E, 0xC3, 0xA9, 0x2E], max_tokens=0, echo=True, logprobs=0
    ).choices[0]
    assert (got.text, got.logprobs.text_offset) == ("\ufffd.é.", [0, 1, 2, 2, 3])


def test_minus_infinity_is_a_number():
    token = Token(0, 0, 65, float("-inf"), ((66, 0.0),))
    told = Completion(ByteTokenizer(), True).tell([Piece(0, 0, "A", token)], False)
    assert told["logprobs"]["token_logprobs"] == [-9999.0]
    assert told["logprobs"]["top_logprobs"] == [{"A": -9999.0, "B": 0.0}]


@pytest.mark.parametrize("stop", ["e", ["zz", "e", "q", "x", "k"]])
def test_stop_texts_end_a_sample_and_are_not_in_it(client, models, stop):
    model, tokenizer = models["fox"]
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    bias = {str(tokenizer.encode("e")[0]): 3}
    got = client.completions.create(
        model="fox", prompt="th", seed=1, max_tokens=30, stop=stop, logit_bias=bias, logprobs=0
    ).choices[0]
    wanted = whole(model, tokenizer, "th", seed=1, max_new_tokens=30, stop=stops,
                   logit_bias=((tokenizer.encode("e")[0], 3.0),))  # fmt: skip
    assert got.text == wanted and got.finish_reason == "stop"
    assert not any(text in got.text for text in stops)
    assert got.logprobs.tokens[-1] in stops  # what ended it is told all the same


def test_stop_tokens_and_a_least_length(client, models):
    _, tokenizer = models["fox"]
    letter = tokenizer.encode("e")[0]
    extra = {"stop_token_ids": [letter], "min_tokens": 5}
    got = client.completions.create(
        model="fox", prompt="th", seed=1, logit_bias={str(letter): 100}, extra_body=extra
    )
    assert len(got.choices[0].text) == 5 and got.choices[0].finish_reason == "stop"
    assert got.usage.completion_tokens == 6


def test_the_best_of_several_is_the_likeliest(client):
    every = client.completions.create(model="fox", prompt="a", n=5, seed=3, logprobs=0)
    means = [sum(c.logprobs.token_logprobs) / 16 for c in every.choices]
    best = client.completions.create(model="fox", prompt="a", n=2, best_of=5, seed=3)
    order = sorted(range(5), key=means.__getitem__, reverse=True)
    assert [c.text for c in best.choices] == [every.choices[i].text for i in order[:2]]
    assert best.choices[0].logprobs is None and [c.index for c in best.choices] == [0, 1]
    assert best.usage.completion_tokens == 80


@pytest.mark.parametrize("name", ["fox", "words", "talk"])
def test_a_stream_is_the_whole_in_pieces(client, models, name):
    request = {"model": name, "prompt": ["the fox", "a"], "n": 2, "seed": 9}
    whole_reply = client.completions.create(**request, logprobs=1)
    texts, tokens, ends, usage = [""] * 4, [[], [], [], []], [None] * 4, None
    options = {"include_usage": True}
    for chunk in client.completions.create(
        **request, logprobs=1, stream=True, stream_options=options
    ):
        assert chunk.usage is None or not chunk.choices
        usage = chunk.usage or usage
        for choice in chunk.choices:
            assert ends[choice.index] is None, "nothing comes after the end"
            texts[choice.index] += choice.text
            tokens[choice.index] += choice.logprobs.tokens if choice.logprobs else []
            ends[choice.index] = choice.finish_reason
    assert texts == [choice.text for choice in whole_reply.choices]
    assert tokens == [choice.logprobs.tokens for choice in whole_reply.choices]
    assert ends == [choice.finish_reason for choice in whole_reply.choices]
    assert usage == whole_reply.usage


def test_many_clients_at_once_each_get_their_own(served, models):
    model, tokenizer = models["words"]

    async def ask():
        async with openai.AsyncOpenAI(
            base_url=f"{served.url}/v1", api_key="unused", max_retries=0
        ) as client:

            async def one(seed):
                request = {"model": "words", "prompt": "the", "seed": seed}
                if seed % 2:
                    return (await client.completions.create(**request)).choices[0].text
                chunks = await client.completions.create(**request, stream=True)
                return "".join([c.choices[0].text async for c in chunks])

            return await asyncio.gather(*(one(seed) for seed in range(20)))

    got = asyncio.run(ask())
    assert got == [whole(model, tokenizer, "the", seed=seed) for seed in range(20)]
    assert served.idle()


def test_without_a_seed_two_answers_differ(client):
    texts = {client.completions.create(model="fox", prompt="a").choices[0].text for _ in range(3)}
    assert len(texts) == 3


def test_models_are_listed_and_named(client):
    assert [model.id for model in client.models.list()] == ["fox", "words", "talk"]
    one = client.models.retrieve("words")
    assert (one.object, one.owned_by) == ("model", "minigpt2")
    assert one.minigpt2["block_size"] == 37
    assert (one.minigpt2["n_layer"], one.minigpt2["n_head"]) == (2, 3)
    with pytest.raises(openai.NotFoundError, match="there is no model 'nobody'") as caught:
        client.completions.create(model="nobody", prompt="a")
    assert caught.value.code == "model_not_found"


def test_a_conversation_is_a_transcript_that_is_gone_on_with(client, models):
    model, tokenizer = models["talk"]
    messages = [{"role": "developer", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "Why?"}]}]  # fmt: skip
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    got = client.chat.completions.create(
        model="talk", messages=messages, seed=2, max_completion_tokens=30, 
    )  # fmt: skip
    wanted = whole(model, tokenizer, transcript(said), seed=2, max_new_tokens=30, stop=(NEXT_TURN,))
    choice = got.choices[0]
    assert choice.message.content == wanted.lstrip() and choice.message.role == "assistant"
    assert got.object == "chat.completion" and got.usage.completion_tokens == 30
    with pytest.raises(openai.BadRequestError, match="logprobs: of conversations"):
        client.chat.completions.create(model="talk", messages=messages, logprobs=True)
    stream = client.chat.completions.create(
        model="talk", messages=messages, seed=2, max_tokens=30, stream=True
    )
    deltas = [chunk.choices[0].delta for chunk in stream]
    assert "".join(delta.content or "" for delta in deltas) == wanted.lstrip()
    assert [delta.role for delta in deltas] == ["assistant"] + [None] * (len(deltas) - 1)


def test_a_model_without_conversations_says_so(client):
    with pytest.raises(openai.BadRequestError, match="not trained on conversations"):
        client.chat.completions.create(model="fox", messages=[{"role": "user", "content": "a"}])


BAD = [
    ({"prompt": 3}, "prompt"),
    ({"prompt": []}, "prompt"),
    ({"prompt": ["a", 3]}, "prompt"),
    ({"prompt": [[]]}, "prompt"),
    ({"prompt": [29]}, "no token 29"),
    ({"prompt": [-1]}, "no token -1"),
    ({"prompt": "ß"}, "ß"),
    ({"prompt": "a" * 30}, "30 prompt tokens and 16 new ones exceed the window of 37"),
    ({"max_tokens": "9"}, "max_tokens"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_tokens": 10**6}, "max_tokens"),
    ({"max_tokens": True}, "max_tokens"),
    ({"temperature": -1}, "temperature"),
    ({"temperature": 1e30}, "temperature"),
    ({"top_p": 1.5}, "top_p"),
    ({"top_k": -2}, "top_k"),
    ({"n": 0}, "n:"),
    ({"n": 129}, "n:"),
    ({"n": 100}, "at most 69"),
    ({"n": 2, "best_of": 1}, "best_of"),
    ({"best_of": 2, "stream": True}, "best_of"),
    ({"suffix": "b"}, "suffix"),
    ({"n": 60, "max_tokens": 30000, "model": "talk"}, "tokens and log-probabilities"),
    ({"prompt": [""] * 1_000_000}, "1000000 samples"),
    ({"logprobs": 21}, "logprobs"),
    ({"logprobs": True}, "logprobs"),
    ({"logit_bias": {"x": 1}}, "logit_bias"),
    ({"logit_bias": {"29": 1}}, "no token 29"),
    ({"logit_bias": {str(i): 1 for i in range(1025)}}, "logit_bias"),
    ({"logit_bias": {"1": 1e300}}, "logit-bias"),
    ({"stop": [""]}, "stop"),
    ({"stop": ["a"] * 33}, "stop"),
    ({"stop": "a" * 201}, "stop"),
    ({"stop_token_ids": [29]}, "no token 29"),
    ({"min_tokens": 17}, "min-new-tokens"),
    ({"seed": 1.5}, "seed"),
    ({"model": 3}, "model"),
    ({"prompt": "a" * 37, "echo": True, "logprobs": 0, "max_tokens": 1}, "exceed the window"),
]


@pytest.mark.parametrize(("wrong", "message"), BAD, ids=lambda item: str(item)[:40])
def test_what_cannot_be_meant_is_a_bad_request(client, served, wrong, message):
    body = {"model": "fox", "prompt": "a", **wrong}
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/completions", body=body, cast_to=object)
    error = caught.value.body
    assert message in error["message"] and error["type"] == "invalid_request_error"
    assert set(error) == {"message", "type", "param", "code"}
    assert served.idle()


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"a"', b"\xff", b'{"prompt":"a"', b'{"prompt":NaN}',
     b'{"temperature":Infinity}', b'{"prompt":1e999}', b'{"prompt":"\\ud800"}',
     b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b"[" * 1_000_000, b'{"a":' * 100_000,
     b'{"prompt":' + b"[" * 5000 + b"]" * 5000 + b"}"],
    ids=lambda body: str(body[:24]),
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions", "/tokenize",
                                  "/detokenize"])  # fmt: skip
def test_what_is_no_request_is_a_bad_request(client, path, body):
    answer = client._client.post(
        str(client.base_url).removesuffix("/v1/") + path, content=body,
        headers={"Content-Type": "application/json"},
    )  # fmt: skip
    assert answer.status_code == 400 and answer.json()["error"]["message"]


def test_the_tokenizer_is_at_hand(client, models):
    _, tokenizer = models["words"]
    http, base = client._client, str(client.base_url).removesuffix("/v1/")

    def post(path, **body):
        return http.post(base + path, json={"model": "words", **body}).json()

    ids = post("/tokenize", prompt="the fox<|endoftext|>", add_special_tokens=False)["tokens"]
    assert ids == tokenizer.encode("the fox<|endoftext|>")
    assert post("/tokenize", prompt="<|endoftext|>")["tokens"] == [tokenizer.eos_id]
    assert post("/detokenize", tokens=ids)["prompt"] == "the fox<|endoftext|>"
    assert "no token 9999" in post("/detokenize", tokens=[9999])["error"]["message"]
    info = http.get(base + "/tokenizer_info", params={"model": "words"}).json()
    assert info["eos_token"] == "<|endoftext|>" and info["bos_token"] is None
    assert http.get(base + "/tokenizer_info").json()["eos_token"] is None  # of characters


def test_a_window_that_slides_is_told(models, serving):
    with serving({"fox": models["fox"]}, max_tokens=50, overflow="slide") as running:
        got = ask(running).completions.create(model="fox", prompt="a")
    assert got.usage.completion_tokens == 50
    assert got.choices[0].context["window_slides"] > 0


def test_an_engine_that_fails_answers_and_goes_on(models, serving, monkeypatch, caplog):
    with serving({"fox": models["fox"]}) as running:
        client, real = ask(running), Engine.step
        monkeypatch.setattr(Engine, "step", lambda self: 1 / 0)
        with pytest.raises(openai.InternalServerError, match="its log says why"):
            client.completions.create(model="fox", prompt="a")
        monkeypatch.setattr(Engine, "step", real)
        assert client.completions.create(model="fox", prompt="a").choices[0].text
        assert running.idle()
    assert "division by zero" in caplog.text


def test_a_fault_of_ours_is_500_and_tells_nothing(models, serving, monkeypatch, caplog):
    def fail(*args):
        raise KeyError("a secret")

    monkeypatch.setattr("minigpt2.server.completions._encode", fail)
    with serving({"fox": models["fox"]}) as running:
        client = ask(running)
        for _ in range(3):
            with pytest.raises(openai.InternalServerError) as caught:
                client.completions.create(model="fox", prompt="a")
            assert "secret" not in str(caught.value)
    assert "a secret" in caplog.text


def test_an_error_in_mid_stream_is_an_event(models, serving, monkeypatch):
    real, steps = Engine.step, []

    def fail_later(self):
        steps.append(1)
        return 1 / 0 if len(steps) > 5 else real(self)

    with serving({"fox": models["fox"]}) as running:
        monkeypatch.setattr(Engine, "step", fail_later)
        with pytest.raises(openai.APIError, match="its log says why"):
            list(ask(running).completions.create(model="fox", prompt="a", stream=True))
        assert running.idle()


def test_the_description_names_what_there_is(client):
    base = str(client.base_url).removesuffix("/v1/")
    document = client._client.get(f"{base}/openapi.json").json()
    assert document["openapi"].startswith("3.1") and "/v1/completions" in document["paths"]
    wanted = document["components"]["schemas"]["CompletionRequest"]["properties"]
    assert {"prompt", "echo", "logprobs", "typical_p", "stop_token_ids"} <= set(wanted)
    json.dumps(document)
