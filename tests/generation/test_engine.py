"""Cached = uncached, batch = single, whoever else is there; windows slide, are cut, or refuse."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minigpt2.errors import MiniGPT2Error, UsageError
from minigpt2.generation import Ended, Engine, Request, Sampling, Scored, Token
from minigpt2.model import GPT2, Bigram, BigramConfig, GPT2Config

GREEDY = Sampling(max_new_tokens=9, temperature=0)


def run(engine, *requests):
    """Return the ids of every sample, and how each ended, by (place of request, sample)."""
    place = {engine.submit(request): number for number, request in enumerate(requests)}
    return collect(engine, place)


def generate_ids_of(engine, prompt):
    engine.submit(Request(prompt, GREEDY))
    return [event.id for event in engine.run() if isinstance(event, Token)]


def collect(engine, place):
    ids, ends = {}, {}
    for event in engine.run():
        key = (place[event.request], event.sample)
        assert key not in ends
        if isinstance(event, Token):
            ids.setdefault(key, []).append(event.id)
        else:
            ends[key] = event
    return ids, ends


def written(model, prompt, sampling=GREEDY, **more):
    ids, _ = run(Engine(model, **more), Request(prompt, sampling))
    return ids.get((0, 0), [])


def brute_force(model, prompt, number, size=13, keep=0):
    context, window = list(prompt), list(prompt)
    for _ in range(number):
        if len(window) > size:
            window = context[:keep] + context[-(size // 2) :]
        token = int(model(torch.tensor([window]))[0, -1].argmax())
        context.append(token)
        window.append(token)
    return context[len(prompt) :]


def test_cached_greedy_equals_brute_force(tiny):
    assert written(tiny, [3, 1, 4]) == brute_force(tiny, [3, 1, 4], 9)


@pytest.mark.parametrize("keep", [0, 1, 5])
def test_sliding_equals_reading_the_window_that_is_kept(tiny, keep):
    sampling = Sampling(max_new_tokens=40, temperature=0, n_keep=keep)
    ids, ends = run(Engine(tiny), Request([3, 1, 4], sampling))
    assert ids[0, 0] == brute_force(tiny, [3, 1, 4], 40, keep=keep)
    assert ends[0, 0].slides > 0 and ends[0, 0].cut == 0


def test_a_prompt_longer_than_the_window_is_read_from_its_end(tiny):
    long = list(range(29))
    assert written(tiny, long) == written(tiny, long[-6:])
    assert written(tiny, long[:13]) == brute_force(tiny, long[:13], 9)


def test_truncating_left_reads_what_leaves_room_and_says_so(tiny):
    sampling = Sampling(max_new_tokens=9, temperature=0, overflow="truncate-left")
    ids, ends = run(Engine(tiny), Request(list(range(20)), sampling))
    assert ids[0, 0] == brute_force(tiny, list(range(16, 20)), 9)
    assert ends[0, 0] == Ended(0, 0, "length", cut=16, slides=0)


@pytest.mark.parametrize(("new", "kept"), [(12, 1), (13, 7), (500, 7)])
def test_truncating_left_ends_where_the_window_does(tiny, new, kept):
    """Who asks for more than there is gets half of the window for the prompt."""
    sampling = Sampling(max_new_tokens=new, temperature=0, overflow="truncate-left")
    ids, ends = run(Engine(tiny), Request(list(range(9)), sampling))
    assert ids[0, 0] == brute_force(tiny, list(range(9))[-kept:], 13 - kept)
    assert ends[0, 0].cut == 9 - kept


def test_what_does_not_fit_is_an_error_with_both_numbers(tiny):
    sampling = Sampling(max_new_tokens=3, overflow="error")
    with pytest.raises(UsageError, match="11 prompt tokens and 3 new ones exceed the window of 13"):
        Engine(tiny).submit(Request(list(range(11)), sampling))
    last = Sampling(max_new_tokens=1, temperature=0, overflow="error")
    assert written(tiny, list(range(12)), last) == brute_force(tiny, list(range(12)), 1)


def test_keeping_more_than_the_window_leaves_is_an_error(tiny):
    with pytest.raises(UsageError, match="at most 6"):
        Engine(tiny).submit(Request([1], Sampling(n_keep=7)))


@pytest.mark.parametrize("slots", [1, 2, 3, 7])
def test_a_sample_is_the_same_whatever_else_is_in_the_batch(tiny, slots):
    """Prompts of many lengths, more requests than slots, rows that end at different times."""
    requests = [
        Request([7 + i] * (1 + 5 * i % 12), Sampling(max_new_tokens=3 + 4 * i % 17, seed=i), n=2)
        for i in range(6)
    ]
    together, ends = run(Engine(tiny, slots), *requests)
    assert len(ends) == 12
    for place, request in enumerate(requests):
        for sample in range(2):
            alone = request.sampling.with_seed(request.sampling.seed + sample)
            assert together[place, sample] == written(tiny, request.ids, alone)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_rows_that_join_leave_and_are_cancelled_disturb_nobody(data):
    torch.manual_seed(7)
    model = GPT2(GPT2Config(29, 13, 1, 3, 21)).eval()
    engine, got, wanted, alive = Engine(model, 3), {}, {}, []
    for seed in range(8):
        prompt = data.draw(st.lists(st.integers(0, 28), min_size=1, max_size=20))
        sampling = Sampling(max_new_tokens=data.draw(st.integers(0, 18)), seed=seed, top_k=9)
        number = engine.submit(Request(prompt, sampling))
        wanted[number], got[number] = written(model, prompt, sampling), []
        alive.append(number)
        for _ in range(data.draw(st.integers(0, 6))):
            for event in engine.step():
                if isinstance(event, Token):
                    got[event.request].append(event.id)
        if data.draw(st.booleans()):
            cancelled = alive.pop(data.draw(st.integers(0, len(alive) - 1)))
            engine.cancel(cancelled)
            wanted[cancelled] = list(got[cancelled])
    for event in engine.run():
        if isinstance(event, Token):
            got[event.request].append(event.id)
    assert got == wanted


def test_cancelling_takes_effect_within_a_token(tiny):
    engine = Engine(tiny, 2)
    first = engine.submit(Request([1, 2], Sampling(max_new_tokens=1000)))
    second = engine.submit(Request([3], Sampling(max_new_tokens=5)), )  # fmt: skip
    engine.step()
    engine.cancel(first)
    assert {event.request for event in engine.run()} == {second}
    assert not engine.busy


def test_one_of_several_samples_is_cancelled_alone(tiny):
    engine = Engine(tiny, 3)
    number = engine.submit(Request([1], Sampling(max_new_tokens=4), n=3))
    engine.step()
    engine.cancel(number, 1)
    ids, _ = collect(engine, {number: 0})
    assert {key: len(value) for key, value in ids.items()} == {(0, 0): 3, (0, 2): 3}


def count_tokens_read(model):
    read = []
    model.wte.register_forward_pre_hook(lambda _, arguments: read.append(arguments[0].numel()))
    return read


def test_what_a_slot_has_read_is_not_read_again(tiny):
    """The next turn of a conversation costs what is new in it, and samples share their prompt."""
    read = count_tokens_read(tiny)
    engine = Engine(tiny, 1)
    run(engine, Request([1, 2, 3, 4, 5, 6], Sampling(max_new_tokens=1)))
    assert sum(read) == 6
    read.clear()
    five = Sampling(max_new_tokens=5, temperature=0)
    ids, _ = run(engine, Request([1, 2, 3, 4, 5, 7, 8], five))
    assert sum(read) == 2 + 4  # from the 7 on, then what was written, but for its last
    assert ids[0, 0] == brute_force(tiny, [1, 2, 3, 4, 5, 7, 8], 5)
    read.clear()
    run(Engine(tiny, 4), Request([1, 2, 3, 4, 5], Sampling(max_new_tokens=1), n=4))
    assert sum(read) == 4 + 4


def test_no_row_is_padded(tiny):
    read = count_tokens_read(tiny)
    prompts = [[1], [2, 3, 4], [5, 6, 7, 8, 9, 10, 11]]
    run(Engine(tiny, 3), *(Request(ids, Sampling(max_new_tokens=2)) for ids in prompts))
    assert sum(read) == sum(map(len, prompts)) + 3


def test_padding_rows_of_the_vocabulary_are_never_chosen(tiny):
    tiny.wte.weight.data[20:] = 100 * tiny.wte.weight.data[20:]
    sampling = Sampling(max_new_tokens=50, temperature=5)
    assert max(written(tiny, [1], sampling, vocab_size=20)) < 20


def test_stop_tokens_end_a_sample_and_are_its_last(tiny):
    whole = written(tiny, [5], Sampling(max_new_tokens=30, seed=3))
    stop = whole[11]
    ids, ends = run(Engine(tiny), Request([5], Sampling(30, seed=3), stop_ids=(stop,)))
    assert ids[0, 0] == whole[: whole.index(stop) + 1] and ends[0, 0].reason == "stop"
    least = Sampling(30, seed=3, min_new_tokens=25)
    ids, _ = run(Engine(tiny), Request([5], least, stop_ids=(stop,)))
    assert stop not in ids[0, 0][:25]


def test_log_probabilities_are_the_models_own(tiny):
    sampling = Sampling(max_new_tokens=4, temperature=0.3, top_k=2, logprobs=3, banned_ids=(9,))
    engine, context = Engine(tiny), [1, 2]
    engine.submit(Request([1, 2], sampling))
    for event in engine.run():
        if isinstance(event, Token):
            wanted = tiny(torch.tensor([context]))[0, -1].log_softmax(0)
            assert event.logprob == pytest.approx(wanted[event.id].item(), abs=1e-5)
            values, ids = wanted.topk(3)
            assert [token_id for token_id, _ in event.top] == ids.tolist()
            assert [value for _, value in event.top] == pytest.approx(values.tolist(), abs=1e-5)
            assert all(value == event.logprob for i, value in event.top if i == event.id)
            context.append(event.id)


@pytest.mark.parametrize("new", [0, 1, 4])
@pytest.mark.parametrize("kind", ["cached", "bigram"])
def test_a_prompts_own_log_probabilities_are_the_models(tiny, monkeypatch, new, kind):
    monkeypatch.setattr("minigpt2.generation.runner._CHUNK", 3)
    model = tiny if kind == "cached" else Bigram(BigramConfig(29, 13)).eval()
    engine, ids = Engine(model, 3), [3, 1, 4, 1, 5, 9, 2]
    list(
        generate_ids_of(engine, [3, 1, 4, 1])
    )  # what a slot has read already is scored all the same
    sampling = Sampling(max_new_tokens=new, temperature=0, logprobs=2)
    engine.submit(Request(ids, sampling, n=2, score=True))
    events = list(engine.run())
    (scored,) = [event for event in events if isinstance(event, Scored)]
    wanted = model(torch.tensor([ids]))[0].log_softmax(dim=1)
    assert [token.id for token in scored.tokens] == ids[1:]
    for place, token in enumerate(scored.tokens):
        assert token.logprob == pytest.approx(wanted[place, token.id].item(), abs=1e-5)
        best = wanted[place].topk(2)
        assert [i for i, _ in token.top] == best.indices.tolist()
        assert [v for _, v in token.top] == pytest.approx(best.values.tolist(), abs=1e-5)
    drawn = [event.id for event in events if isinstance(event, Token) and event.sample == 1]
    assert drawn == (brute_force(tiny, ids, new) if kind == "cached" else drawn)
    assert len(drawn) == new


def test_a_whole_window_can_be_scored_and_one_more_token_written(tiny):
    engine = Engine(tiny)
    engine.submit(Request(list(range(13)), Sampling(max_new_tokens=0, logprobs=0), score=True))
    engine.submit(Request(list(range(12)), Sampling(max_new_tokens=1, logprobs=0), score=True))
    scored = [event for event in engine.run() if isinstance(event, Scored)]
    assert [len(event.tokens) for event in scored] == [12, 11]
    with pytest.raises(UsageError, match="13 prompt tokens and 1 new"):
        engine.submit(Request(list(range(13)), Sampling(max_new_tokens=1), score=True))


def test_an_error_while_a_prompt_is_read_leaves_nothing_half(tiny):
    engine = Engine(tiny, 2)
    calls = []

    def break_once(*_):
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt

    tiny.h[1].register_forward_hook(break_once)
    engine.submit(Request([1, 2, 3, 4, 5], GREEDY))
    with pytest.raises(KeyboardInterrupt):
        engine.step()
    ids = [event.id for event in engine.run() if isinstance(event, Token)]
    assert ids == brute_force(tiny, [1, 2, 3, 4, 5], 9)


def test_weights_that_are_no_numbers_are_told(tiny):
    tiny.ln_f.weight.data[3] = float("nan")
    with pytest.raises(MiniGPT2Error, match="not numbers"):
        written(tiny, [1])


def test_a_bigram_generates_too(tiny):
    model = Bigram(BigramConfig(29, 5))
    model.table.data[torch.arange(29), (torch.arange(29) + 1) % 29] = 50.0
    assert written(model, [3], Sampling(20)) == [(4 + i) % 29 for i in range(20)]


def test_a_model_of_ones_own_needs_no_cache():
    class Mine(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.config = BigramConfig(29, 7)
            self.embedding = torch.nn.Embedding(29, 29)

        def forward(self, tokens, targets=None):
            return self.embedding(tokens).cumsum(1)

    torch.manual_seed(0)
    model = Mine()
    assert written(model, [1, 2], slots=2) == brute_force(model, [1, 2], 9, size=7)


def test_no_tokens_asked_none_given(tiny):
    ids, ends = run(Engine(tiny), Request([1], Sampling(0)), Request([2], Sampling(1)))
    assert set(ids) == {(1, 0)} and ends[0, 0].reason == "length"


@pytest.mark.parametrize(
    ("ids", "sampling", "message"),
    [([], {}, "no tokens"), ([29], {}, "there is no token 29; the model's are 0 to 28"),
     ([-1], {}, "no token -1"), ([1], {"banned_ids": (29,)}, "banned-ids"),
     ([1], {"logit_bias": ((31, 1.0),)}, "logit-bias"),
     ([1], {"banned_ids": tuple(range(29))}, "no token to choose")],
)  # fmt: skip
def test_requests_that_mean_nothing_are_refused(tiny, ids, sampling, message):
    engine = Engine(tiny)
    with pytest.raises(UsageError, match=message):
        engine.submit(Request(ids, Sampling(**sampling)))
    assert not engine.busy
