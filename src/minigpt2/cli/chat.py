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
    """Talk to a model: type the beginning of a text, it goes on. 'quit' or Ctrl-D leaves.

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
    from minigpt2.terminal.chat import chat_loop
    from minigpt2.tokenizers import replacing_unknown
    from minigpt2.training import find_device

    sampling = Sampling(max_new_tokens, temperature, top_k, top_p, tuple(stop or ()), seed)
    folder = resolve_model(model, _say)
    target = find_device(device)
    network, tokenizer = open_model(folder, _say)
    if sys.stdin.isatty():
        print("Type the beginning of a text; the model goes on. 'quit' leaves.", file=sys.stderr)
    chat_loop(network.to(target), replacing_unknown(tokenizer, unknown), sampling)
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr)
