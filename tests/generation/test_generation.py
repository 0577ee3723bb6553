"""Cached generation equals brute force; sampling equals transformers; streams equal the whole."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minigpt2.errors import DataError, UsageError
from minigpt2.generation import (
    Sampling,
    TextStream,
    decode,
    filter_logits,
    generate,
    generate_many,
)
from minigpt2.generation.engine import slide
from minigpt2.model import Bigram, BigramConfig
from minigpt2.tokenizers import ByteTokenizer

GREEDY = Sampling(max_new_tokens=9, temperature=0)


def ids_of(steps):
    return [step[0] for step in steps]


def test_cached_greedy_equals_brute_force(tiny):
    prompt = [3, 1, 4]
    context = list(prompt)
    for _ in range(9):
        context.append(int(tiny(torch.tensor([context]))[0, -1].argmax()))
    assert ids_of(decode(tiny, prompt, GREEDY)) == context[3:]


def test_sliding_equals_reading_the_window_that_is_kept(tiny):
    sampling = Sampling(max_new_tokens=40, temperature=0)
    context, window = [3, 1, 4], [3, 1, 4]
    for _ in range(40):
        if len(window) > 13:
            window = context[-6:]  # half of 13
        token = int(tiny(torch.tensor([window]))[0, -1].argmax())
        context.append(token)
        window.append(token)
    assert ids_of(decode(tiny, [3, 1, 4], sampling)) == context[3:]


def test_a_prompt_longer_than_the_window_is_read_from_its_end(tiny):
    long = list(range(29))
    assert ids_of(decode(tiny, long, GREEDY)) == ids_of(decode(tiny, long[-6:], GREEDY))
    assert slide(torch.tensor([long]), 13).tolist() == [long[-6:]]
    assert slide(torch.tensor([long]), 29).tolist() == [long]


def test_a_sample_does_not_depend_on_its_neighbours(tiny):
    together = list(decode(tiny, [5], Sampling(max_new_tokens=11, seed=100), n=3))
    for row in range(3):
        alone = decode(tiny, [5], Sampling(max_new_tokens=11, seed=100 + row))
        assert [step[row] for step in together] == ids_of(alone)


def test_the_same_seed_gives_the_same_text_and_leaves_torch_alone(tiny, tokenizer):
    sampling = Sampling(max_new_tokens=30, seed=3)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = "".join(generate(tiny, tokenizer, "a", sampling))
    assert torch.equal(torch.get_rng_state(), before)
    assert one == "".join(generate(tiny, tokenizer, "a", sampling))
    assert one != "".join(generate(tiny, tokenizer, "a", sampling.with_seed(4)))


def test_padding_rows_of_the_vocabulary_are_never_chosen(tiny):
    tiny.wte.weight.data[20:] = 100 * tiny.wte.weight.data[20:]
    sampling = Sampling(max_new_tokens=50, temperature=5)
    assert max(ids_of(decode(tiny, [1], sampling, vocab_size=20))) < 20


def test_a_bigram_generates_too(tokenizer):
    model = Bigram(BigramConfig(29, 5))
    model.table.data[torch.arange(29), (torch.arange(29) + 1) % 29] = 50.0
    assert "".join(generate(model, tokenizer, "a", Sampling(5))) == "bcdef"


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
@pytest.mark.parametrize(("top_k", "top_p"), [(None, None), (5, None), (None, 0.6), (7, 0.8)])
def test_filters_equal_transformers(temperature, top_k, top_p):
    transformers = pytest.importorskip("transformers")
    logits = torch.randn(5, 29, generator=torch.Generator().manual_seed(2)) * 3
    wanted = transformers.TemperatureLogitsWarper(temperature)(None, logits)
    if top_k:
        wanted = transformers.TopKLogitsWarper(top_k)(None, wanted)
    if top_p:
        wanted = transformers.TopPLogitsWarper(top_p)(None, wanted)
    got = filter_logits(logits, Sampling(temperature=temperature, top_k=top_k, top_p=top_p))
    torch.testing.assert_close(got, wanted)


def test_samples_follow_the_distribution(tiny):
    """Chi-square of 3000 first tokens against the softmax, five tokens allowed."""
    sampling = Sampling(max_new_tokens=1, temperature=1.3, top_k=5)
    wanted = filter_logits(tiny(torch.tensor([[2]]))[:, -1], sampling).softmax(1)[0]
    [ids] = decode(tiny, [2], sampling, n=3000)
    counts = torch.bincount(torch.tensor(ids), minlength=29)
    assert counts[wanted == 0].sum() == 0
    expected = 3000 * wanted[wanted > 0]
    assert ((counts[wanted > 0] - expected) ** 2 / expected).sum() < 18.5  # p = 0.001, 4 degrees


@given(st.text("ab", max_size=30), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3))
def test_streamed_text_ends_where_the_first_stop_string_begins(text, stops):
    stream = TextStream(ByteTokenizer(), tuple(stops))
    shown = "".join(stream.feed(ord(character)) for character in text) + stream.close()
    # The stop that is complete first ends the text, at its own beginning.
    ends = [
        (end, min(text.find(s) for s in stops if text[:end].endswith(s) or s in text[:end]))
        for end in range(len(text) + 1)
        if any(s in text[:end] for s in stops)
    ]
    assert shown == (text[: ends[0][1]] if ends else text)


def test_a_stop_string_is_held_back_while_it_may_come():
    stream = TextStream(ByteTokenizer(), ("END",))
    assert [stream.feed(ord(c)) for c in "aENxE"] == ["a", "", "", "ENx", ""]
    assert stream.close() == "E"


def test_stopped_samples_stay_stopped(tiny, tokenizer):
    stop = "".join(generate(tiny, tokenizer, "a", Sampling(8, seed=1)))[4]
    sampling = Sampling(8, seed=1, stop=(stop,))
    samples = zip(*generate_many(tiny, tokenizer, "a", 3, sampling), strict=True)
    assert all(stop not in "".join(pieces) for pieces in samples)


def test_generating_leaves_the_mode_as_it_was(tiny, tokenizer):
    tiny.train()
    list(generate(tiny, tokenizer, "a", Sampling(2)))
    assert tiny.training


def test_almost_no_temperature_is_greedy(tiny):
    cold = Sampling(max_new_tokens=9, temperature=1e-300)
    assert ids_of(decode(tiny, [3, 1, 4], cold)) == ids_of(decode(tiny, [3, 1, 4], GREEDY))


def test_no_tokens_asked_none_given(tiny, tokenizer):
    assert list(generate(tiny, tokenizer, "a", Sampling(0))) == []


def test_an_unknown_character_in_the_prompt_is_an_error(tiny, tokenizer):
    with pytest.raises(DataError, match="'Z'"):
        list(generate(tiny, tokenizer, "Z"))


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": -1}, {"temperature": float("nan")}, {"top_k": 0}, {"top_p": 0},
     {"top_p": 1.1}, {"max_new_tokens": -1}, {"seed": -1}, {"stop": ("",)}],
)  # fmt: skip
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(UsageError):
        Sampling(**wrong)
