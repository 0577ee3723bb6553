"""Open and save models from Python: two functions, one pair."""

from pathlib import Path

from minigpt2.checkpoints.directory import load_checkpoint, save_checkpoint
from minigpt2.checkpoints.run import resolve_model
from minigpt2.model import LanguageModel
from minigpt2.tokenizers import Tokenizer


def from_pretrained(name_or_dir: str | Path) -> tuple[LanguageModel, Tokenizer]:
    """Open a run (its best checkpoint), a checkpoint, or any Hugging Face GPT-2 directory.

    Returns the model in evaluation mode, fp32, and its tokenizer. Raises InputMissingError or
    DataError.
    """
    return load_checkpoint(resolve_model(str(name_or_dir), say=lambda line: None))


def save_pretrained(model: LanguageModel, tokenizer: Tokenizer, folder: str | Path) -> None:
    """Write a directory that `transformers` and `from_pretrained` open; atomic."""
    save_checkpoint(Path(folder), model, tokenizer)
