"""`minigpt2 chat`: talk to a model in the terminal."""

from dataclasses import replace
from functools import partial

from cyclopts import App, CycloptsError, Parameter

from minigpt2.cli.options import Dtype, SamplingFlags, open_to_write
from minigpt2.errors import UsageError
from minigpt2.sampling import Sampling

_SHORTER = Sampling(max_new_tokens=300)


def chat(
    model: str | None = None,
    *,
    sampling: SamplingFlags = _SHORTER,
    unknown: str | None = None,
    device: str = "auto",
    dtype: Dtype = "float32",
) -> int:
    """Talk to a model: begin a text, and it goes on; of one trained on conversations, ask.

    In it /help lists commands: settings, another answer, going on, saving. 'quit' or Ctrl-D leaves.

    Parameters
    ----------
    model
        Run or checkpoint directory; default: the newest under runs/, else the one that comes along.
    unknown
        Character that replaces those a character model does not know.
    device
        auto, cpu, cuda, cuda:N or mps.
    dtype
        Precision of the weights: bfloat16 and int8 are faster where the model is large.
    """
    from minigpt2.terminal.chat import Chat

    opened = partial(open_to_write, unknown=unknown, device=device, dtype=dtype)
    Chat(model, opened, change, sampling).loop()
    return 0


def change(sampling: Sampling, name: str, values: list[str]) -> Sampling:
    """Return the settings with one of them read as the flag of that name would be.

    Without values they are returned as they are. Raises UsageError.

    >>> change(Sampling(), "top-k", ["5"]).top_k
    5
    """
    # The one flag takes all that follows, however it looks.
    free = Parameter(consume_multiple=True, allow_leading_hyphen=True, negative="")
    app = App(result_action="return_value", default_parameter=free, help_flags=[], version_flags=[])

    @app.default
    def read(*, sampling: SamplingFlags = Sampling()) -> Sampling:  # noqa: B008
        return sampling

    flags = [f"--{name}={values[0]}"] if len(values) == 1 else [f"--{name}", *values]
    key = name.replace("-", "_")
    try:
        changed = app(flags, exit_on_error=False, print_error=False) if values else sampling
        return replace(sampling, **{key: getattr(changed, key)})
    except CycloptsError as error:
        raise UsageError(" ".join(str(error).split())) from None
    except (AttributeError, TypeError):
        raise UsageError(f"there is no setting {name}; /show lists them") from None
