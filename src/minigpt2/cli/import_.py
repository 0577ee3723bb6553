"""`minigpt2 import`: a pickled checkpoint of another program becomes a model directory."""

from pathlib import Path

from minigpt2.cli.options import say
from minigpt2.errors import UsageError


def import_model(
    source: Path, *, out: Path, text: str | None = None, tokenizer: str | None = None
) -> int:
    """Make a model directory of nanoGPT's ckpt.pt or a Hugging Face pytorch_model.bin.

    The file is read by torch's restricted unpickler, which builds tensors and runs no code.

    Parameters
    ----------
    source
        The file, or the folder that holds it.
    out
        The model directory to write.
    text
        For a character model: the text file it was trained on, or a data set's name.
    tokenizer
        gpt2, byte, or a directory with tokenizer.json; default: GPT-2's, where the sizes fit.
    """
    if text is not None and tokenizer is not None:
        raise UsageError("give --text or --tokenizer, not both")
    from minigpt2.data import read_text
    from minigpt2.interop.pickled import import_pickled

    characters = None if text is None else read_text(text)
    model, made = import_pickled(source, out, characters, tokenizer)
    count = sum(parameter.numel() for parameter in model.parameters())
    say(f"wrote {out}: {count:,} parameters, {made.vocab_size:,} tokens")
    say(f"next: minigpt2 generate {out}")
    return 0
