"""`minigpt2 doctor`: what this machine offers, and what minigpt2 would choose on it."""

import os
import platform
import shutil
import timeit
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.table import Table

from minigpt2 import __version__
from minigpt2.config import Config
from minigpt2.settings import resolve

EXTRAS = {
    "data": ("pyarrow",),
    "hub": ("huggingface_hub", "tokenizers"),
    "export": ("gguf", "onnx", "onnxscript"),
    "track": ("tensorboard",),
    "sweep": ("optuna",),
    "serve": ("starlette", "uvicorn", "msgspec"),
}
_MATMUL_SIZE = 2048


def doctor(*, preset: str | None = None) -> int:
    """Show versions, device, measured matrix-product rates, and the plan for a preset.

    Parameters
    ----------
    preset
        The preset to plan for; default: the one `train` takes.
    """
    name = preset or "shakespeare-char"
    config = resolve(name).config
    import torch

    from minigpt2.training import make_plan, memory, shape_of

    plan, shape = make_plan(config), shape_of(config, vocabulary(config))
    table = Table(show_header=False, box=None)
    table.add_row("minigpt2", f"{__version__}, Python {platform.python_version()}")
    table.add_row("torch", f"{torch.__version__}, CUDA {torch.version.cuda or 'none'}")
    table.add_row("system", platform.platform())
    table.add_row("processor", f"{plan.machine}, {os.cpu_count()} CPUs")
    for dtype in ("float32", "bfloat16"):
        rate = matmul_gflops(plan.device, dtype)
        table.add_row(f"matrix product, {dtype}", f"{rate:,.0f} GFLOP/s at {_MATMUL_SIZE}^3")
    table.add_row("disk free here", f"{shutil.disk_usage(Path.cwd()).free / 1e9:,.0f} GB")
    table.add_row(f"plan, {name}", plan.describe())
    estimate = memory.estimate_memory(config, plan, shape)
    table.add_row("memory to train it", estimate.describe())
    generating = memory.gigabytes(estimate.parameters + memory.cache_bytes(config))
    table.add_row("memory to generate", f"about {generating}, a full cache included")
    if (room := memory.available_memory(plan.device)) is not None:
        table.add_row("memory free", memory.gigabytes(room))
        if estimate.step > room:
            table.add_row("it will not fit", memory.cheapest_fit(config, plan, shape, room))
    for extra, modules in EXTRAS.items():
        missing = [name for name in modules if find_spec(name) is None]
        state = f'not installed: pip install "minigpt2[{extra}]"' if missing else "installed"
        table.add_row(f"extra {extra}", state)
    Console().print(table)
    return 0


def vocabulary(config: Config) -> int:
    """Return the vocabulary a configuration will have, as far as it says without a text."""
    name = config.data.tokenizer
    size = int(name[4:]) if name.startswith("bpe:") else {"char": 65, "byte": 256}.get(name, 50257)
    return config.model.vocab_size or size


def matmul_gflops(device: str, dtype: str, repeats: int = 5) -> float:
    """Return the best rate of a few square matrix products, in GFLOP/s."""
    import torch

    n = _MATMUL_SIZE
    a = torch.randn(n, n, device=device).to(getattr(torch, dtype))
    # `item` waits for the device.
    seconds = timeit.repeat(lambda: (a @ a).sum().item(), number=1, repeat=repeats)
    return 2 * n**3 / min(seconds) / 1e9
