"""Streamed = whole, stop strings held back, whole characters only, and batches of texts."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minigpt2.errors import DataError, UsageError
from minigpt2.generation import Engine, Sampling, generate, generate_batch, stream
from minigpt2.generation.text import TextStream, engine_for
from minigpt2.tokenizers import END_OF_TEXT, ByteTokenizer, CharTokenizer


def test_the_same_seed_gives_the_same_text_and_leaves_torch_alone(tiny, tokenizer):
    sampling = Sampling(max_new_tokens=30, seed=3)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = "".join(generate(tiny, tokenizer, "a", sampling))
    assert torch.equal(torch.get_rng_state(), before)
    assert one == "".join(generate(tiny, tokenizer, "a", sampling))
    assert one != "".join(generate(tiny, tokenizer, "a", sampling.with_seed(4)))


def test_a_batch_of_texts_is_what_each_is_alone(tiny, tokenizer):
    prompts = ["a", "the quick brown fox", "", "zz"]
    together = generate_batch(tiny, tokenizer, prompts, Sampling(25, seed=5), n=3)
    for prompt, samples in zip(prompts, together, strict=True):
        for number, sample in enumerate(samples):
            assert sample == "".join(
                generate(tiny, tokenizer, prompt, Sampling(25, seed=5 + number))
            )


@given(st.text("ab", max_size=30), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3))
def test_streamed_text_ends_where_the_first_stop_string_begins(text, stops):
    shown = TextStream(ByteTokenizer(), tuple(stops))
    got = "".join(shown.feed(ord(character)) for character in text) + shown.close()
    # The stop that is complete first ends the text, at its own beginning.
    ends = [
        (end, min(text.find(s) for s in stops if s in text[:end]))
        for end in range(len(text) + 1)
        if any(s in text[:end] for s in stops)
    ]
    assert got == (text[: ends[0][1]] if ends else text)


def test_a_stop_string_is_held_back_while_it_may_come():
    shown = TextStream(ByteTokenizer(), ("END",))
    assert [shown.feed(ord(c)) for c in "aENxE"] == ["a", "", "", "ENx", ""]
    assert shown.close() == "E"


@given(st.text(max_size=20))
def test_characters_come_whole(text):
    shown = TextStream(ByteTokenizer(), ())
    pieces = [shown.feed(byte) for byte in text.encode("utf-8", "replace")]
    assert "�" not in "".join(pieces) or "�" in text
    assert "".join(pieces) + shown.close() == text.encode("utf-8", "replace").decode()


def test_stopped_samples_stay_stopped_and_take_no_more_steps(tiny, tokenizer):
    [whole] = generate_batch(tiny, tokenizer, ["a"], Sampling(40, seed=1), n=3)
    stop = whole[0][4]
    [stopped] = generate_batch(tiny, tokenizer, ["a"], Sampling(40, seed=1, stop=(stop,)), n=3)
    assert stopped == [text.split(stop)[0] for text in whole]
    engine = Engine(tiny, 3, tokenizer.vocab_size)
    sampling = Sampling(40, seed=1, stop=(stop,))
    pieces = list(stream(engine, tokenizer, [tokenizer.encode("a")], sampling, 3))
    assert sum(piece.token is not None for piece in pieces) == sum(
        len(text.split(stop)[0]) + (stop in text) for text in whole
    )
    assert [piece.ended.reason for piece in pieces if piece.ended] == [
        "stop" if stop in text else "length" for text in sorted(whole, key=lambda t: t.find(stop))
    ]


def test_stopping_at_a_newline(tiny, tokenizer):
    [[text]] = generate_batch(tiny, tokenizer, ["a"], Sampling(300, temperature=2))
    sampling = Sampling(300, temperature=2, stop_at_newline=True)
    assert "\n" in text
    assert "".join(generate(tiny, tokenizer, "a", sampling)) == text.split("\n")[0]


def test_the_end_of_a_text_ends_it_unless_it_is_to_be_ignored(tiny):
    ending = CharTokenizer(sorted("abcdefghijklmnopqrstuvwxyz ."), specials=(END_OF_TEXT,))
    assert ending.vocab_size == 29 and ending.eos_id is not None
    on = Sampling(2000, temperature=3, seed=4, ignore_eos=True)
    whole = "".join(generate(tiny, ending, "x", on))
    assert END_OF_TEXT in whole
    short = Sampling(2000, temperature=3, seed=4)
    assert "".join(generate(tiny, ending, "x", short)) == whole.split(END_OF_TEXT)[0]


def test_an_abandoned_stream_leaves_the_engine_free(tiny, tokenizer):
    engine = Engine(tiny, 2, tokenizer.vocab_size)
    pieces = stream(engine, tokenizer, [[1], [2], [3]], Sampling(50))
    next(pieces)
    assert engine.busy
    pieces.close()
    assert not engine.busy


def test_an_engine_writes_one_stream_at_a_time(tiny, tokenizer):
    engine = Engine(tiny, 2, tokenizer.vocab_size)
    first = stream(engine, tokenizer, [[1]], Sampling(5))
    with pytest.raises(UsageError, match="still writing"):
        stream(engine, tokenizer, [[2]], Sampling(5))
    list(first)
    list(stream(engine, tokenizer, [[2]], Sampling(5)))


def test_a_stop_string_keeps_what_is_known_of_cuts_and_slides(tiny, tokenizer):
    engine = Engine(tiny, 1, tokenizer.vocab_size)
    [[whole]] = generate_batch(tiny, tokenizer, ["a"], Sampling(60, seed=2))
    stop = whole[40:44]
    *_, last = stream(engine, tokenizer, [[1]], Sampling(60, seed=2, stop=(stop,)))
    assert last.ended.reason == "stop" and last.ended.slides >= 4


def test_an_engine_is_no_larger_than_its_prompts_need(tiny, tokenizer):
    assert engine_for(tiny, tokenizer, [[1], [1, 2]], Sampling(4)).size == 6
    assert engine_for(tiny, tokenizer, [[1]], Sampling(500)).size == 13


def test_generating_leaves_the_mode_as_it_was(tiny, tokenizer):
    tiny.train()
    list(generate(tiny, tokenizer, "a", Sampling(2)))
    assert tiny.training


def test_no_tokens_asked_none_given(tiny, tokenizer):
    assert list(generate(tiny, tokenizer, "a", Sampling(0))) == []


def test_an_unknown_character_in_the_prompt_is_an_error(tiny, tokenizer):
    with pytest.raises(DataError, match="'Z'"):
        list(generate(tiny, tokenizer, "Z"))
