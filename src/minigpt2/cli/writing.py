"""What the commands that write text share: their settings as flags, and opening a model for it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter

from minigpt2.sampling import Sampling

if TYPE_CHECKING:
    from minigpt2.model import LanguageModel
    from minigpt2.tokenizers import Tokenizer

_GROUP = Group("Sampling", sort_key=1)
# Every setting of `Sampling` as a flag of its own, its help from there.
SamplingFlags = Annotated[Sampling, Parameter(name="*", group=_GROUP)]
Dtype = Literal["float32", "bfloat16", "int8"]


def open_to_write(
    model: str | None, unknown: str | None, device: str, dtype: Dtype, say: Callable[[str], None]
) -> "tuple[str, LanguageModel, Tokenizer]":
    """Open MODEL on a device, in a precision, its tokenizer replacing unknown characters.

    Returns where it was found, the model and the tokenizer.
    """
    from minigpt2.interop import open_model, resolve_model
    from minigpt2.model import set_precision
    from minigpt2.tokenizers import replacing_unknown
    from minigpt2.training import find_device

    target = find_device(device)
    folder = resolve_model(model, say)
    network, tokenizer = open_model(folder, say)
    set_precision(network.to(target), dtype)
    return str(folder), network, replacing_unknown(tokenizer, unknown)
