"""BPE: GPT-2's ids are tiktoken's, our merges are `tokenizers`' own, and nothing is ever lost."""

import json
import random
from collections import Counter
from importlib import resources
from itertools import pairwise
from pathlib import Path

import pytest
import tiktoken
import tiktoken.load
import tiktoken_ext.openai_public
from hypothesis import given, settings
from hypothesis import strategies as st

import tokenizers
from minigpt2.data import documents, read_text
from minigpt2.errors import ConfigError, DataError
from minigpt2.tokenizers import (
    END_OF_TEXT,
    BPETokenizer,
    ByteTokenizer,
    CharTokenizer,
    bpe_size,
    count_words,
    encode_array,
    gpt2_tokenizer,
    learn_merges,
    load_tokenizer,
    make_tokenizer,
    tokenizer_files,
)
from minigpt2.tokenizers.bpe import every_token_is_reached

# Runs of blanks, line ends, contractions and signs meet oftener here than in any text.
NASTY = st.text(
    st.sampled_from(" \n\t\r'stdmlrve0123abcXYZé—,.!<|>\u00a0\u2003\u0301日本語😀\x00\u2028"),
    max_size=60,
)
ANY = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)


@pytest.fixture(scope="module")
def official():
    """tiktoken's own gpt2, as its makers define it, over the file that travels here."""
    merges = (resources.files("minigpt2.tokenizers") / "gpt2.bpe").read_bytes()
    vocab = json.dumps(gpt2_tokenizer().to_json()["model"]["vocab"]).encode()
    read = tiktoken.load.read_file_cached
    tiktoken.load.read_file_cached = lambda url, hash=None: merges if "bpe" in url else vocab
    try:  # the loader itself checks that merges and vocabulary agree
        return tiktoken.Encoding(**tiktoken_ext.openai_public.gpt2())
    finally:
        tiktoken.load.read_file_cached = read


def generated(number, seed=0):
    """Strings of words, signs, white space and any code point, mixed."""
    rng = random.Random(seed)
    corpus = read_text("shakespeare")

    def words():
        start = rng.randrange(len(corpus) - 30)
        return corpus[start : start + rng.randint(1, 30)]

    def point():
        return chr(rng.choice([rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)]))

    def odd():
        return rng.choice(["  ", "\n\n", " \n ", "'ll", "'S", "<|endoftext|>", "\t", "   x"])

    kinds = (words, point, odd, lambda: str(rng.randrange(10**9)))
    for _ in range(number):
        yield "".join(rng.choice(kinds)() for _ in range(rng.randint(1, 12)))


@pytest.mark.parametrize("number", [3000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_gpt2_ids_equal_tiktokens(official, number):
    ours = gpt2_tokenizer()
    assert ours.vocab_size == official.n_vocab == 50257 and ours.eos_id == official.eot_token
    for text in generated(number):
        ids = ours.encode(text)
        assert ids == official.encode_ordinary(text)
        assert ours.decode(ids) == text
        assert encode_array(ours, text).tolist() == ids


def test_gpt2_opens_in_the_tokenizers_library_with_equal_ids():
    library = tokenizers.Tokenizer.from_str(json.dumps(gpt2_tokenizer().to_json()))
    library.encode_special_tokens = True
    for text in generated(500, seed=1):
        # Letters newer than the library's Unicode are letters to tiktoken and to us only.
        if all(ord(character) < 0x3000 for character in text):
            assert library.encode(text).ids == gpt2_tokenizer().encode(text)


CORPORA = {
    "plays": lambda: [read_text("shakespeare")[:300_000]],
    "code": lambda: [
        path.read_text(encoding="utf-8")
        for path in sorted(Path(__file__).parents[2].glob("src/minigpt2/**/*.py"))
    ],
    "many scripts": lambda: [
        "Füße größer naïve coöperate señor ñandú. " * 40,
        "日本語の文章はここにあります。中文也在這裡。한국어 문장입니다。" * 40,
        "Съешь же ещё этих мягких французских булок, да выпей чаю. " * 40,
        "😀😃😄 👩‍👩‍👧 e\u0301 ﬁ \u2028 \t\t  \n\n\n 1234567890 ١٢٣ ''' \"\"\" ... --- " * 40,
        "aaaaaaa aaaa aaaaaaaaaaa abababababab hugs pug pun bun hug " * 40,
    ],
}


def library_merges(texts, size):
    cutter = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    library = tokenizers.Tokenizer(tokenizers.models.BPE())
    library.pre_tokenizer = cutter
    library.train_from_iterator(
        texts,
        tokenizers.trainers.BpeTrainer(
            vocab_size=size,
            min_frequency=2,
            initial_alphabet=cutter.alphabet(),
            show_progress=False,
        ),
    )
    return json.loads(library.to_str())["model"]["merges"]


@pytest.mark.parametrize("corpus", CORPORA)
def test_our_merges_are_the_librarys(corpus, tmp_path):
    texts = CORPORA[corpus]()
    ours = make_tokenizer("bpe:1500", texts)
    theirs = library_merges(texts, 1499)
    written = [merge.split(" ") for merge in ours.to_json()["model"]["merges"]]
    assert written == theirs and len(written) > 200
    for name, content in tokenizer_files(ours, 64).items():
        (tmp_path / name).write_bytes(content)
    library = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    library.encode_special_tokens = True  # our own sources speak of <|endoftext|>
    for text in texts:
        assert library.encode(text).ids == ours.encode(text)
    assert load_tokenizer(tmp_path).to_json() == ours.to_json()


@given(st.one_of(NASTY, ANY))
def test_text_comes_back(text):
    for tokenizer in (gpt2_tokenizer(), ByteTokenizer((END_OF_TEXT,)), SMALL):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text and tokenizer.decode_bytes(ids) == text.encode()
        assert encode_array(tokenizer, text).tolist() == ids


@given(st.binary(max_size=60))
def test_bytes_come_back(content):
    for tokenizer in (gpt2_tokenizer(), SMALL):
        assert tokenizer.decode_bytes(tokenizer.encode_bytes(content)) == content


def test_half_a_surrogate_pair_comes_back_as_bytes():
    ids = gpt2_tokenizer().encode("a\ud83db")
    assert gpt2_tokenizer().decode_bytes(ids) == "a\ud83db".encode("utf-8", "surrogatepass")
    for tokenizer in (gpt2_tokenizer(), SMALL, ByteTokenizer(), CharTokenizer("ab\ud83d")):
        assert encode_array(tokenizer, "a\ud83db").tolist() == tokenizer.encode("a\ud83db")


SMALL = BPETokenizer(
    learn_merges(count_words(["the cat sat on the mat, that's the cat's  mat\n\n" * 9]), 40)
)


@settings(max_examples=400)
@given(st.lists(NASTY, max_size=5), st.integers(2, 40))
def test_a_text_in_pieces_has_the_ids_of_the_whole(chunks, size):
    text = "".join(chunks)
    longest = documents.PIECE_CHARACTERS
    documents.PIECE_CHARACTERS = size
    try:
        cut = list(documents.as_pieces(chunks, "here"))
    finally:
        documents.PIECE_CHARACTERS = longest
    assert "".join(piece.text for piece in cut) == text
    assert [piece.first for piece in cut] == [True] + [False] * (len(cut) - 1)
    assert [piece.last for piece in cut] == [False] * (len(cut) - 1) + [True]
    # Else a word, or white space, was longer than a piece.
    if all(b.text[:1].isspace() and not a.text[-1:].isspace() for a, b in pairwise(cut)):
        for tokenizer in (gpt2_tokenizer(), SMALL):
            joined = [i for piece in cut for i in tokenizer.encode(piece.text)]
            assert joined == tokenizer.encode(text)


@pytest.mark.parametrize(
    "tokenizer",
    [gpt2_tokenizer(), ByteTokenizer((END_OF_TEXT, "<|user|>")), SMALL,
     CharTokenizer(sorted("<|endoftext|>user \n"), specials=(END_OF_TEXT, "<|user|>"))],
    ids=["gpt2", "byte", "bpe", "char"],
)  # fmt: skip
def test_added_tokens_arise_from_text_and_the_end_of_text_never(tokenizer):
    text = "user <|endoftext|>\n<|user|> <|endoftext|><|user|>"
    ids = tokenizer.encode(text)
    assert tokenizer.eos_id not in ids
    added = tokenizer.specials.get("<|user|>")
    assert added is None or [i for i in ids if i == added] == [added, added]
    assert tokenizer.decode(ids) == text
    assert encode_array(tokenizer, text).tolist() == ids
    assert tokenizer.decode([tokenizer.eos_id]) == END_OF_TEXT
    assert tokenizer.decode_bytes([tokenizer.eos_id]) == END_OF_TEXT.encode()


@pytest.mark.parametrize("name", ["char", "byte", "bpe:300"])
def test_special_tokens_survive_on_disk(name, tmp_path):
    made = make_tokenizer(name, ["some text, some more"], (END_OF_TEXT, "<|user|>"))
    for file, content in tokenizer_files(made, 8).items():
        (tmp_path / file).write_bytes(content)
    again = load_tokenizer(tmp_path)
    assert type(again) is type(made)
    assert again.specials == made.specials and again.eos_id == made.eos_id
    library = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert library.token_to_id("<|user|>") == made.specials["<|user|>"]
    assert library.get_vocab_size() == made.vocab_size


@pytest.mark.parametrize("chosen", ["tokenizer.json", "merges.txt"])
def test_a_released_directory_opens_as_our_own_kind(chosen, tmp_path):
    """As others write it: the library's tokenizer.json, or the older pair of files."""
    ours = gpt2_tokenizer()
    if chosen == "tokenizer.json":
        library = tokenizers.ByteLevelBPETokenizer(
            ours.to_json()["model"]["vocab"],
            [tuple(merge.split(" ")) for merge in ours.to_json()["model"]["merges"]],
        )
        library.add_special_tokens([END_OF_TEXT])
        library.save(str(tmp_path / chosen))
    else:
        merges = resources.files("minigpt2.tokenizers") / "gpt2.bpe"
        (tmp_path / chosen).write_bytes(merges.read_bytes())
    again = load_tokenizer(tmp_path)
    assert isinstance(again, BPETokenizer)
    assert again.vocab_size == 50257 and again.encode("Hello world") == [15496, 995]


def test_counting_on_two_processes_counts_the_same():
    texts = [f"word{i} and the  rest's\n" * 5 for i in range(40)]
    assert count_words(texts, 2) == count_words(texts) == Counter(count_words(["".join(texts)]))


def test_a_small_text_supports_only_a_small_vocabulary():
    made = make_tokenizer("bpe:8192", ["the poem is short, the poem ends"])
    assert 257 < made.vocab_size < 300


@pytest.mark.parametrize("name", ["bpe:", "bpe:x", "bpe:256", "bpe:-5", "bpe:9999999", "bpe:3.5"])
def test_sizes_that_cannot_be_are_told(name):
    with pytest.raises(ConfigError, match="needs a number from 257"):
        bpe_size(name)


def test_merges_that_are_none_are_a_data_error(tmp_path):
    (tmp_path / "merges.txt").write_text("#version\na b c\n")
    with pytest.raises(DataError, match="holds no merges"):
        load_tokenizer(tmp_path)


def test_merges_no_word_can_come_to_are_left_to_the_library(tmp_path):
    """tiktoken would join neighbours that no merge joins."""
    odd = BPETokenizer([(b"a", b"b"), (b"b", b"c"), (b"a", b"bc")])
    (tmp_path / "tokenizer.json").write_text(json.dumps(odd.to_json()))
    library = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(tmp_path).encode("abc") == library.encode("abc").ids != odd.encode("abc")
    assert every_token_is_reached(gpt2_tokenizer().merges)


def test_progress_is_told():
    told = []
    make_tokenizer("bpe:270", ["the cat the cat sat sat"], progress=told.append)
    assert told == list(range(1, len(told) + 1)) and told
