"""Text that may hold anything, made fit to be shown: nothing in it steers what shows it."""

import unicodedata


def printable(text: str) -> str:
    """Return `text` with every control character but newline and tab made visible.

    >>> printable("a\\x1b[31mb")
    'a␛[31mb'
    """
    return "".join(_visible(character) for character in text)


def _visible(character: str) -> str:
    code = ord(character)
    if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs"):
        return character
    # Unicode has pictures of the first 32 controls and of DEL; the rest become U+FFFD.
    return chr(0x2400 + code) if code < 32 else "␡" if code == 127 else "\ufffd"
