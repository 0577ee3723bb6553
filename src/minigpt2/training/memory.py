"""How much memory a run takes, before it takes it: by the shapes of one step, run on no data.

The step runs on fake tensors, which have shapes and no content; every storage that comes to life
in it is counted until it is gone. So whatever a step does (precision, attention path, dropout,
recomputed blocks) is in the figure without a formula of its own. Two small depths are run; what a
block adds is their difference.
"""

import contextlib
import os
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from minigpt2.checkpoints import Say
from minigpt2.config import Config
from minigpt2.errors import ConfigError
from minigpt2.model import ATTENTION, GPT2, GPT2Config, LanguageModel, set_attention
from minigpt2.training.plan import Plan, checkpoint_blocks
from minigpt2.training.start import adapt, blank_model, shape_of

# On a CPU the process takes more than what lives in it: oneDNN keeps compiled kernels, and the C
# library's allocator keeps gaps between blocks; how much, benchmarks/memory.md measured.
_KERNELS, _GAPS = 50_000_000, 0.25


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes at the peak of a training step; `process` is what Python and torch take themselves.

    `room` is what was to be had before it; None where nobody looked, or nobody tells.
    """

    parameters: int
    gradients: int
    optimizer: int
    activations: int
    process: int
    room: int | None = None

    @property
    def step(self) -> int:
        """What training adds to the process."""
        return self.parameters + self.gradients + self.optimizer + self.activations

    @property
    def total(self) -> int:
        """The peak."""
        return self.step + self.process

    def describe(self) -> str:
        """Return the estimate as one line."""
        names = ("parameters", "gradients", "optimizer", "activations")
        parts = (f"{name} {gigabytes(getattr(self, name))}" for name in names)
        free = "" if self.room is None else f"; {gigabytes(self.room)} free"
        return f"about {gigabytes(self.total)}: {', '.join(parts)}{free}"


def estimate_memory(config: Config, plan: Plan, shape: GPT2Config, held: int = 0) -> MemoryEstimate:
    """Return what training a model of that shape as `config` says, by `plan`, takes at its peak.

    `held` are the bytes of a model that is in this process already.
    """
    with _fake_model(config, shape) as model:
        sizes = [(parameter.nbytes, parameter.requires_grad) for parameter in model.parameters()]
    parameters, gradients = sum(n for n, _ in sizes), sum(n for n, learns in sizes if learns)
    activations = _activations(config, plan, shape)
    process = 0
    if torch.device(plan.device).type == "cpu":
        process = max(0, _resident() - held) + _KERNELS + int(_GAPS * activations)
    return MemoryEstimate(parameters, gradients, 2 * gradients, activations, process)


def _activations(config: Config, plan: Plan, shape: GPT2Config) -> int:
    """Return what a step adds at its peak: of two small depths, continued to the whole one.

    Where single blocks are frozen they differ, and the whole depth is run.
    """
    config = Config(model=config.model, training=config.training)  # what decides, and no more
    depth = shape.n_layer
    unit = config.training.activation_checkpointing or 1  # blocks that repeat as a group
    if depth <= 2 * unit or config.training.freeze:
        return _peak(config, plan, shape)
    one, two = (_peak(config, plan, replace(shape, n_layer=n * unit)) for n in (1, 2))
    return one + (two - one) * (depth - unit) // unit


def cache_bytes(config: Config, dtype: torch.dtype = torch.float32) -> int:
    """Return what the keys and values of one full context take while generating."""
    m = config.model
    return 2 * m.n_layer * m.block_size * m.n_embd * dtype.itemsize if m.kind == "gpt2" else 0


def foresee_memory(
    config: Config, plan: Plan, model: LanguageModel | None, vocab_size: int, say: Say
) -> MemoryEstimate:
    """Return what the run takes and what there is; say what would help if it is too much.

    `model` is there already, or None: then `vocab_size` is the tokenizer's.
    """
    size = model.config.vocab_size if model else config.model.vocab_size or vocab_size
    shape = model.config if isinstance(model, GPT2) else shape_of(config, size)
    held = sum(parameter.nbytes for parameter in model.parameters()) if model else 0
    estimate = estimate_memory(config, plan, shape, held)
    room = available_memory(plan.device)
    if room is not None and estimate.step - held > room:
        hint = cheapest_fit(config, plan, shape, room + held)
        say(f"memory: {estimate.describe()}; only {gigabytes(room)} is free: {hint}")
    return replace(estimate, room=room)


def available_memory(device: str) -> int | None:
    """Return the bytes that can still be had on a device; None where nobody tells."""
    kind = torch.device(device)
    if kind.type == "cuda":
        return torch.cuda.mem_get_info(kind)[0]
    return min(_rooms(), default=None) if kind.type == "cpu" else None


def cheapest_fit(config: Config, plan: Plan, shape: GPT2Config, room: int) -> str:
    """Say by which change, as options and its figure, a step fits into `room` most cheaply.

    Smaller micro-batches change nothing but speed, recomputed blocks cost a forward pass, shorter
    sequences another context; they are tried in that order.
    """
    least = {"micro_batch_size": 1, "activation_checkpointing": 1}
    changes = [{"micro_batch_size": size} for size in _halved(plan.micro_batch_size, 1)]
    shorter = _halved(config.sequence_length, 32)
    changes += [least, *({**least, "sequence_length": length} for length in shorter)]
    for values in changes:
        changed = replace(config, training=replace(config.training, **values))
        smaller = replace(plan, micro_batch_size=values["micro_batch_size"])
        needed = estimate_memory(changed, smaller, shape).step
        if needed <= room:
            flags = (f"--training.{key.replace('_', '-')} {n}" for key, n in values.items())
            return f"the cheapest change: {' '.join(flags)} needs about {gigabytes(needed)}"
    return "a smaller model is needed here"


def _halved(number: int, least: int) -> Iterator[int]:
    """Yield the half of a number, the half of that, and so on, until `least` is reached."""
    while number > least:
        number //= 2
        yield number


def gigabytes(count: int) -> str:
    """Write a number of bytes for a person.

    >>> gigabytes(1_240_000_000), gigabytes(3_400_000)
    ('1.24 GB', '3.4 MB')
    """
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


class _Live(TorchDispatchMode):
    """Counts the bytes of every storage made while it is on, until it is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in tree_iter(result):
            if isinstance(value, Tensor):
                self._meet(value.untyped_storage())
        self.peak = max(self.peak, self.now)
        return result

    def _meet(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            self.now += size
            weakref.finalize(storage, self._part, key, size)

    def _part(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


@contextlib.contextmanager
def _fake_model(config: Config, shape: GPT2Config) -> Iterator[nn.Module]:
    """Yield the model that is to be trained, or one of another depth, without memory.

    Within the context tensors have a shape and no content, and numbers drawn count for none.
    """
    with FakeTensorMode(), torch.random.fork_rng(devices=[]):
        model = blank_model(config, shape)
        with contextlib.suppress(ConfigError):  # a name that is none is told where it is built
            adapt(config, model)
        yield model


@cache
def _peak(config: Config, plan: Plan, shape: GPT2Config) -> int:
    """Return the most that lives at once in a step, parameters and their gradients left out."""
    B, T = plan.micro_batch_size, config.sequence_length
    plan = replace(plan, device="cpu")  # shapes are the same on every device
    with _fake_model(config, shape) as model:
        set_attention(model, ATTENTION[plan.attention])
        checkpoint_blocks(model, config.training.activation_checkpointing)
        for parameter in model.parameters():
            parameter.grad = torch.empty_like(parameter) if parameter.requires_grad else None
        tokens = torch.zeros(B, T, dtype=torch.int64)
        with _Live() as live:
            with plan.autocast():
                loss = model(tokens, tokens)
            loss.backward()
    return live.peak


def _resident() -> int:
    """Return what this process holds now; a typical figure where the system does not say."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 400_000_000


def _rooms() -> Iterator[int]:
    """Yield what the system has free, and what a container still allows, as far as they tell."""
    with contextlib.suppress(OSError, IndexError):
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        yield int(text.split("\nMemAvailable:")[1].split()[0]) * 1024
    folder = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError, IndexError):
        limit = int((folder / "memory.max").read_text(encoding="ascii"))
        current = int((folder / "memory.current").read_text(encoding="ascii"))
        stat = (folder / "memory.stat").read_text(encoding="ascii")
        # Pages of files count as used and are given back when they are wanted.
        files = int(stat.split("\ninactive_file ")[1].split()[0])
        yield limit - current + files
