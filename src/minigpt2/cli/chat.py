"""`minigpt2 chat`: talk to a model in the terminal."""

from minigpt2.cli.options import Opening, SamplingFlags
from minigpt2.sampling import Sampling

_SHORTER = Sampling(max_new_tokens=300)


def chat(
    model: str | None = None,
    *,
    sampling: SamplingFlags = _SHORTER,
    opening: Opening = Opening(),  # noqa: B008 (frozen)
) -> int:
    """Talk to a model: begin a text, and it goes on; of one trained on conversations, ask.

    In it /help lists commands: settings, another answer, going on, saving. 'quit' or Ctrl-D leaves.

    Parameters
    ----------
    model
        Run or checkpoint directory; default: the newest under runs/, else the one that comes along.
    """
    from minigpt2.terminal.chat import Chat

    Chat(model, opening.open, sampling).loop()
    return 0
