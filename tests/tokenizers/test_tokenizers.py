"""Encode and decode are inverse, unknown characters are named, streams never break a character."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tokenizers
from minigpt2.errors import ConfigError, DataError, InputMissingError
from minigpt2.tokenizers import (
    ByteTokenizer,
    CharTokenizer,
    IncrementalDecoder,
    encode_array,
    load_tokenizer,
    make_tokenizer,
    tokenizer_files,
    with_specials,
)
from minigpt2.tokenizers.directory import ForeignTokenizer

# Lone surrogates are no text: no UTF-8 file can hold them.
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=50)


@given(TEXTS)
def test_bytes_decode_what_they_encoded(text):
    tokenizer = ByteTokenizer()
    assert tokenizer.encode(text) == list(text.encode())
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(TEXTS)
def test_characters_decode_what_they_encoded(text):
    tokenizer = CharTokenizer.from_text(text)
    assert tokenizer.vocab_size == len(set(text))
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_an_unknown_character_is_named_with_its_position():
    with pytest.raises(DataError, match=r"'€' \(U\+20AC\) at position 3"):
        CharTokenizer.from_text("abc").encode("abc€")


def test_an_unknown_character_is_replaced_when_asked():
    tokenizer = CharTokenizer("abc ", unknown=" ")
    assert tokenizer.decode(tokenizer.encode("a€b")) == "a b"
    with pytest.raises(DataError, match="replacement"):
        CharTokenizer("abc", unknown="z")


@given(st.lists(st.integers(0, 255), max_size=40))
def test_streamed_text_equals_decoded_text_whatever_the_bytes(ids):
    tokenizer = ByteTokenizer()
    decoder = IncrementalDecoder(tokenizer)
    pieces = [decoder.feed(token) for token in ids] + [decoder.finish()]
    assert "".join(pieces) == tokenizer.decode(ids)


def test_a_character_comes_whole():
    decoder = IncrementalDecoder(ByteTokenizer())
    assert [decoder.feed(byte) for byte in "a😀".encode()] == ["a", "", "", "", "😀"]


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), CharTokenizer.from_text("héllo\n😀")])
def test_a_saved_tokenizer_opens_again(tokenizer, tmp_path):
    for name, content in tokenizer_files(tokenizer, 13).items():
        (tmp_path / name).write_bytes(content)
    again = load_tokenizer(tmp_path)
    assert type(again) is type(tokenizer)
    assert again.encode("héllo\n😀") == tokenizer.encode("héllo\n😀")
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert config["clean_up_tokenization_spaces"] is False


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"model": {"type": "Unigram", "vocab": {"a": 0}}}',
     '{"model": {"type": "WordLevel", "vocab": {"a": 0, "b": 7}}}',
     '{"model": {"type": "WordLevel", "vocab": {"a": 0, "b": "x"}}}'],
)  # fmt: skip
def test_a_damaged_tokenizer_file_is_a_data_error(tmp_path, content):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(DataError):
        load_tokenizer(tmp_path)


def test_rules_that_are_not_ours_are_left_to_the_library(tmp_path):
    """Taking them for ours would give other ids than the file means, without a word."""
    for tokenizer, change in [
        (ByteTokenizer(), lambda tree: tree["model"]["vocab"].update({"A": 66, "B": 65})),
        (ByteTokenizer(), lambda tree: tree["pre_tokenizer"].update(add_prefix_space=True)),
        (CharTokenizer("ab"), lambda tree: tree.update(normalizer={"type": "Lowercase"})),
        (CharTokenizer("ab"), lambda tree: tree["pre_tokenizer"].update(behavior="Removed")),
    ]:
        tree = tokenizer.to_json()
        change(tree)
        (tmp_path / "tokenizer.json").write_text(json.dumps(tree))
        foreign = load_tokenizer(tmp_path)
        assert isinstance(foreign, ForeignTokenizer) and foreign.to_json() == tree
        oracle = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
        for text in ("ab", "AB", "a  b"):
            with contextlib.suppress(Exception):  # a character the vocabulary lacks
                assert foreign.encode(text) == oracle.encode(text).ids


def test_a_foreign_tokenizer_takes_special_tokens_too(tmp_path):
    tree = ByteTokenizer().to_json() | {"normalizer": {"type": "Lowercase"}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(tree))
    grown = with_specials(load_tokenizer(tmp_path), ["<u>"])
    assert grown.encode("A<u>") == [ord("a"), 256] and grown.vocab_size == 257


def test_names_that_mean_no_tokenizer(tmp_path):
    with pytest.raises(ConfigError, match="none of char, byte"):
        make_tokenizer("chars", "abc")
    with pytest.raises(InputMissingError):
        load_tokenizer(tmp_path)


def test_an_encode_of_ones_own_is_the_one_that_is_used():
    class Lower(CharTokenizer):
        def encode(self, text):
            return super().encode(text.lower())

    class LowerBytes(ByteTokenizer):
        def encode(self, text):
            return super().encode(text.lower())

    assert encode_array(Lower("abc"), "Cab").tolist() == [2, 0, 1]
    assert encode_array(Lower("abcC"), "Cab").tolist() == [2, 0, 1]
    assert encode_array(LowerBytes(), "Cab").tolist() == list(b"cab")
    assert encode_array(ByteTokenizer(), "Cab").tolist() == list(b"Cab")
