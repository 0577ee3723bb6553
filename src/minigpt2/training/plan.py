"""How to run on this machine: device, dtype and attention path, measured rather than guessed.

On a CPU one block of the model is timed for each way to compute it, about a second in all, once
for each machine and shape. The plan is printed, stored in `run.json`, and kept by a resumed run.
What it does to a finished model is done from outside, in one order: the model knows nothing of it,
and neither do its parameters' names change.
"""

import contextlib
import fnmatch
import platform
import re
import timeit
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from minigpt2.config import Config
from minigpt2.errors import MiniGPT2Error, StorageError, UnavailableError
from minigpt2.files import cache_dir, read_sealed, replace_file, sealed
from minigpt2.model import ATTENTION, GPT2, Block, GPT2Config, set_attention

Times = dict[str, float]  # seconds by "dtype attention"
_PROBE_TOKENS = 2048  # tokens a timed pass: enough to be steady, little enough to be quick
_PROBE_REPEATS = 4


@dataclass(frozen=True)
class Plan:
    """What a run computes with; the same plan gives the same numbers."""

    device: str
    dtype: str
    attention: str
    compile: bool
    threads: int
    micro_batch_size: int
    machine: str

    def describe(self) -> str:
        """Return the plan as one line."""
        compiled = ", compiled" if self.compile else ""
        return (
            f"{self.device} ({self.machine}), {self.dtype}, {self.attention} attention{compiled}, "
            f"{self.threads} threads, micro-batch {self.micro_batch_size}"
        )

    def autocast(self) -> torch.autocast:
        """Return the context for forward passes: matrix products in the plan's dtype."""
        return _autocast(torch.device(self.device).type, self.dtype)


def make_plan(config: Config) -> Plan:
    """Choose how to run `config` here; anything but `auto` in it is taken as given.

    Raises UnavailableError for a device this machine does not have.
    """
    training = config.training
    device = find_device(training.device)
    if training.threads:
        torch.set_num_threads(training.threads)
    dtype, attention = training.dtype, training.attention
    if "auto" in (dtype, attention):
        dtype, attention = _choose(config, device, dtype, attention)
    threads, machine = torch.get_num_threads(), machine_name(device)
    micro_batch_size = training.micro_batch_size or training.batch_size
    return Plan(device, dtype, attention, training.compile, threads, micro_batch_size, machine)


def find_device(wanted: str) -> str:
    """Return the device `wanted` means; `auto` is CUDA, else MPS, else the CPU."""
    if wanted == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, index = wanted.partition(":")
    remedy = "use --training.device auto, or cpu"
    if not re.fullmatch(r"cpu|mps|cuda(:[0-9]{1,4})?", wanted):
        raise UnavailableError(f"training.device {wanted!r} is not a device; {remedy}")
    if kind == "cuda" and torch.cuda.device_count() <= int(index or 0):
        built = torch.version.cuda or "none: this is a CPU build"
        raise UnavailableError(
            f"training.device {wanted}: no such CUDA device here (torch {torch.__version__}, CUDA "
            f"{built}); {remedy}, or install a CUDA build of torch on a machine with a GPU"
        )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UnavailableError(f"training.device mps: not on this machine; {remedy}")
    return wanted


def machine_name(device: str) -> str:
    """Return the processor's name as the system tells it."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def apply_transforms(model: nn.Module, config: Config, plan: Plan) -> None:
    """Give `model` its attention path and device, checkpoint its blocks, compile it, as planned."""
    set_attention(model, ATTENTION[plan.attention])
    model.to(plan.device)
    checkpoint_blocks(model, config.training.activation_checkpointing)
    if plan.compile:
        model.compile()


def checkpoint_blocks(model: nn.Module, every: int | None) -> None:
    """Let every k-th block keep its input alone and compute the rest again; None: no block.

    Chen et al. 2016 (arXiv 1604.06174). Dropout masks are drawn again alike, so gradients are the
    same; the price is a second forward pass of those blocks.
    """
    if every is None or not isinstance(model, GPT2):
        return
    for block in list(model.h)[::every]:
        block.__dict__.pop("forward", None)  # of an earlier call on the same model
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def _autocast(kind: str, dtype: str) -> torch.autocast:
    return torch.autocast(kind, getattr(torch, dtype), enabled=dtype != "float32")


def _choose(config: Config, device: str, dtype: str, attention: str) -> tuple[str, str]:
    """Pick dtype and attention where they are left open."""
    kind = torch.device(device).type
    if kind == "cpu" and config.model.kind == "gpt2":
        times = _measure(config)
        allowed = fnmatch.filter(times, f"{dtype} {attention}".replace("auto", "*"))
        dtype, attention = min(allowed, key=times.__getitem__).split()
        return dtype, attention
    halves = kind == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    fast = "bfloat16" if halves else "float32"
    return (fast if dtype == "auto" else dtype), ("fused" if attention == "auto" else attention)


def _measure(config: Config) -> Times:
    """Time every way to compute one block here, or recall it from this machine's cache."""
    model, length = config.model, config.sequence_length
    shape = f"{model.n_embd}/{model.n_head} T={length} dropout={model.dropout > 0}"
    machine = f"{machine_name('cpu')}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    name = f"{machine}, {shape}"
    path, cache = None, {}
    # A cache is a convenience; RuntimeError: there is no home directory.
    with contextlib.suppress(MiniGPT2Error, OSError, RuntimeError):
        path = cache_dir() / "plans.json"
        cache = read_sealed(path)
    if (known := cache.get(name)) is not None:
        return known
    times: Times = {}
    with torch.random.fork_rng(devices=[]):
        for dtype in ("float32", "bfloat16"):
            for attention in ATTENTION:
                if (dtype, attention) != ("float32", "fused-fp32"):
                    seconds = _time_block(config, length, dtype, attention)
                    times[f"{dtype} {attention}"] = seconds
    with contextlib.suppress(StorageError):
        if path is not None:
            replace_file(path, sealed({**cache, name: times}))
    return times


def _time_block(config: Config, length: int, dtype: str, attention: str) -> float:
    """Return the least seconds of forward and backward through one block, after a first pass."""
    m = config.model
    block = Block(GPT2Config(1, length, 1, m.n_head, m.n_embd, m.dropout), 0)
    set_attention(block, ATTENTION[attention])
    x = torch.randn(max(1, _PROBE_TOKENS // length), length, m.n_embd, requires_grad=True)

    def both_ways() -> None:
        with _autocast("cpu", dtype):
            y = block(x)
        y.float().square().mean().backward()

    return min(timeit.repeat(both_ways, number=1, repeat=_PROBE_REPEATS)[1:])
