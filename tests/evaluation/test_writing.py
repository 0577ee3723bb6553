"""How a model writes, against brute force."""

import random

import pytest

from minigpt2.evaluation.writing import distinct, judge, longest_copies, longest_copy


def brute_force(text, source):
    spans = (text[i:j] for i in range(len(text)) for j in range(i + 1, len(text) + 1))
    return max((len(span) for span in spans if span in source), default=0)


@pytest.mark.parametrize("seed", range(20))
def test_the_longest_copy_equals_brute_force(seed):
    draw = random.Random(seed)
    text, source = ("".join(draw.choices("ab c", k=draw.randint(0, 40))) for _ in range(2))
    found = longest_copy(text, source)
    assert found in text and found in source and len(found) == brute_force(text, source)


def test_distinct_counts_over_all_texts():
    assert distinct([["a", "b"], ["a", "b"]], 1) == 0.5
    assert distinct([["a", "b"], ["b", "a"]], 2) == 1.0
    assert distinct([["a"]], 2) == 1.0


def test_a_copy_of_the_training_text_is_told():
    training = "it was the best of times, it was the worst of times"
    found = judge(["so it was the worst of", "x y z"], training, ["it was", "q"])
    copied = found["copied"]
    assert copied["text"] == " it was the worst of" and copied["longest"] == 20
    assert found["held_out"]["longest"] == 6
    assert judge(["a b"], None, [])["copied"] is None


def test_repetition_is_the_share_of_returning_four_word_spans():
    found = judge(["a b c d a b c d"], None, [])
    assert found["seq_rep_4"] == pytest.approx(1 - 4 / 5)
    assert judge(["one two three four five"], None, [])["seq_rep_4"] == 0
    assert longest_copies(["", "ab"], "xaby")["median"] == 1
