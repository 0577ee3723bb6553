"""Decode a stream of ids without ever showing half a character.

A token may end within a UTF-8 sequence; its bytes wait until the rest has come.
"""

import codecs

from minigpt2.tokenizers.protocol import Tokenizer


class IncrementalDecoder:
    """Feed ids one by one, get the text that is certain so far.

    The pieces joined equal the tokenizer's `decode` of all ids.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token_id: int) -> str:
        """Return the characters that this id completes, perhaps none."""
        return self._decoder.decode(self._tokenizer.decode_bytes([token_id]))

    def finish(self) -> str:
        """Return what is left: an unfinished sequence becomes U+FFFD."""
        return self._decoder.decode(b"", final=True)
