"""Bytes as GPT-2's vocabulary writes them: each has a printable stand-in."""


def byte_symbols() -> dict[int, str]:
    """Return GPT-2's printable stand-in for each byte.

    Printable Latin-1 bytes stand for themselves, the others take code points from 256 upward.

    >>> byte_symbols()[ord("A")], byte_symbols()[ord(" ")]
    ('A', 'Ġ')
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    shifted = {byte: chr(256 + i) for i, byte in enumerate(others)}
    return {byte: chr(byte) for byte in printable} | shifted
