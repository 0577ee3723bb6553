"""The released GPT-2 tokenizer: 50,257 ids, whose merges travel in the package (NOTICE)."""

from functools import cache
from importlib import resources

from minigpt2.tokenizers.bpe import BPETokenizer, parse_merges


@cache
def gpt2_tokenizer() -> BPETokenizer:
    """Return GPT-2's own tokenizer.

    >>> gpt2_tokenizer().encode("Hello world")
    [15496, 995]
    """
    text = (resources.files("minigpt2.tokenizers") / "gpt2.bpe").read_text(encoding="utf-8")
    return BPETokenizer(parse_merges(text.splitlines()[1:]))  # after the line "#version"
