"""`minigpt2 chat`: talk to a model in the terminal."""

import sys


def chat(
    model: str | None = None,
    *,
    max_new_tokens: int = 300,
    temperature: float = 0.8,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: list[str] | None = None,
    seed: int = 1337,
    unknown: str | None = None,
    device: str = "auto",
) -> int:
    """Talk to a model: begin a text, and it goes on; of one trained on conversations, ask.

    'quit' or Ctrl-D leaves.

    Parameters
    ----------
    model
        Run or checkpoint directory; default: the newest under runs/.
    max_new_tokens
        Length of an answer.
    temperature
        0 takes the likeliest token, 1 the model's own distribution.
    top_k
        Choose among the k likeliest tokens only.
    top_p
        Choose among the likeliest tokens of this total probability only.
    stop
        Text that ends an answer; may be given several times.
    seed
        Of the first answer; each next one takes the next seed.
    unknown
        Character that replaces those a character model does not know.
    device
        auto, cpu, cuda, cuda:N or mps.
    """
    from minigpt2.generation import Sampling
    from minigpt2.interop import open_model, resolve_model
    from minigpt2.terminal.chat import chat_loop, converses
    from minigpt2.tokenizers import replacing_unknown
    from minigpt2.training import find_device

    sampling = Sampling(max_new_tokens, temperature, top_k, top_p, tuple(stop or ()), seed)
    folder = resolve_model(model, _say)
    target = find_device(device)
    network, tokenizer = open_model(folder, _say)
    if sys.stdin.isatty():
        form = "Ask; it answers." if converses(tokenizer) else "Begin a text; the model goes on."
        _say(f"{form} 'quit' leaves.")
    if tokenizer.chat_template is not None and not converses(tokenizer):
        _say("its chat template is of another kind and not used: the model continues what you type")
    chat_loop(network.to(target), replacing_unknown(tokenizer, unknown), sampling)
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr)
