"""GPT-2 on more GPUs than we have, on paper: FLOPs, memory, communication, failures, hours.

`python benchmarks/scale.py` prints the tables of docs/scale.md, which gives the reasoning and what
is left out. One constant is fitted, on one published run; every other number is counted, or is a
data sheet's. Units are bytes, FLOPs and seconds; GB is 10^9. N is all parameters, each once.
"""

from dataclasses import dataclass
from math import sqrt

T = 1024  # GPT-2's context
BATCH = 2**19  # tokens a step: "0.5M", Brown et al. 2020 (arXiv 2005.14165), table 2.1
GPUS = (8, 64, 512, 4096)
TOKENS = (10**10, 10**11, 10**12)
# Bytes/s one way: of a GPU by NVLink 4, and of a node of eight by eight or one 400 Gb/s adapters.
# Rings cross from node to node once each, so a node's adapters together bound them.
NVLINK, EIGHT, ONE = 450e9, 8 * 50e9, 50e9
HBM = 80e9  # bytes of an H100 SXM
DISK = 2e9  # bytes/s at which a checkpoint is written; assumed
# Interruptions nobody planned: 419 in 54 days on 16,384 GPUs (Llama 3, arXiv 2407.21783, 3.3.4).
GPU_HOURS_A_FAILURE = 16_384 * 54 * 24 / 419
RESTART = 300.0  # seconds from a failure to the first new step; assumed


@dataclass(frozen=True)
class Shape:
    """A released GPT-2; its widths fix every count below."""

    name: str
    n_layer: int
    n_embd: int
    vocab_size: int = 50257
    block_size: int = T

    @property
    def root(self) -> int:
        """Parameters outside the blocks: wte, which is the head too, wpe and ln_f."""
        return (self.vocab_size + self.block_size + 2) * self.n_embd

    @property
    def block(self) -> int:
        """Parameters of a block: weights 12 C^2, their biases 9 C, two LayerNorms 4 C."""
        return 12 * self.n_embd**2 + 13 * self.n_embd

    @property
    def parameters(self) -> int:
        """N: all of them, the tied embedding once."""
        return self.root + self.n_layer * self.block

    @property
    def flops(self) -> int:
        """FLOPs a token, forward and backward: 6 N + 12 L C T (arXiv 2204.02311, appendix B).

        The second term is the attention's two products; its causal half is not taken off.
        """
        return 6 * self.parameters + 12 * self.n_layer * self.n_embd * self.block_size

    @property
    def traffic(self) -> int:
        """Bytes a token moves through memory in bf16, forward and backward, weights apart.

        What each operation reads and writes, in C forward and backward: residual and LayerNorm
        twice 4 and 4, c_attn 4 and 8, attention 4 and 8, c_proj 2 and 4, c_fc 5 and 10, GELU 8 and
        12, c_proj 5 and 10: 36 + 60. Of the logits: written, read twice, gradient written, read
        twice: 6 V.
        """
        return 2 * (96 * self.n_embd * self.n_layer + 6 * self.vocab_size)

    def activations(self, recompute: bool = False) -> int:
        """Bytes a token keeps for the backward pass, logits apart: autocast to bf16, fused kernel.

        A block keeps two residual streams (fp32), two LayerNorms' outputs, q k v, the attention's
        output, c_fc's and the GELU's: 2 x 4 + 2 x 2 + 6 + 2 + 8 + 8 = 36 C. Recomputed, it keeps
        its input alone.
        """
        return (4 if recompute else 36) * self.n_embd * self.n_layer

    @property
    def logits(self) -> int:
        """Bytes a token's logits take at the peak: log-softmax and two gradients of it, in fp32."""
        return 12 * self.vocab_size

    @property
    def checkpoint(self) -> int:
        """Bytes on disk: weights and AdamW's two moments in fp32."""
        return 12 * self.parameters

    def state(self, gpus: int, sharded: bool) -> float:
        """Bytes a GPU holds at any micro-batch; fp32 parameters, gradients, two moments: 16 N.

        DDP adds the bf16 copies of autocast. fully_shard divides the 16 N, and gathers in bf16 the
        root and two blocks (one computed, one fetched ahead); the root's gradient stands in bf16
        and, to be reduced, in fp32.
        """
        if not sharded:
            return 18 * self.parameters
        return 16 * self.parameters / gpus + 2 * (self.root + 2 * self.block) + 6 * self.root

    def communication(self, gpus: int, sharded: bool) -> float:
        """Bytes a GPU sends a step. Rings: all-reduce 2 (W-1)/W of its bytes, the others half that.

        DDP reduces fp32 gradients. fully_shard gathers bf16 parameters forward and, without the
        root, which stays, backward; and reduce-scatters fp32 gradients.
        """
        gathered = 2 * (2 * self.parameters - self.root) + 4 * self.parameters
        return (gpus - 1) / gpus * (gathered if sharded else 8 * self.parameters)


SHAPES = (Shape("124M", 12, 768), Shape("355M", 24, 1024),
          Shape("774M", 36, 1280), Shape("1.5B", 48, 1600))  # fmt: skip


@dataclass(frozen=True)
class GPU:
    """Peak dense bf16 FLOP/s and memory bytes/s, from NVIDIA's data sheets."""

    name: str
    flops: float
    bandwidth: float


A100, H100 = GPU("A100 80 GB SXM", 312e12, 2.039e12), GPU("H100 SXM", 989e12, 3.35e12)


@dataclass(frozen=True)
class Run:
    """A published run on eight GPUs of one node, AdamW's work divided among them."""

    shape: Shape
    gpu: GPU
    step_tokens: int
    step_seconds: float


# llm.c, discussion 481 and scripts/run_gpt2_124M.sh: 1.75M tokens/s, 94 minutes for 10B tokens.
SEEN = Run(SHAPES[0], A100, BATCH, 0.300)
# Not fitted on. The first: modded-nanogpt, record 1, llm.c again, 45 minutes for 10.26B tokens;
# then llm.c's scripts run_gpt2_350M.sh, run_gpt2_774M.sh and run_gpt2_1558M.sh.
UNSEEN = (Run(SHAPES[0], H100, BATCH, 0.139), Run(SHAPES[1], A100, BATCH, 0.820),
          Run(SHAPES[2], A100, BATCH, 1.7), Run(SHAPES[3], H100, 2 * BATCH, 2.80))  # fmt: skip


def moving_seconds(shape: Shape, gpu: GPU, tokens: float, shards: int) -> float:
    """Seconds a step of `tokens` a GPU spends on memory: activations, weights, AdamW.

    Weights: cast (4 + 2), read forward and backward in bf16 (2 + 2), gradients written (4): 14 N.
    AdamW reads parameters, gradients and moments and writes all but the gradients: 28 N in fp32.
    """
    return (tokens * shape.traffic + shape.parameters * (14 + 28 / shards)) / gpu.bandwidth


def computing_seconds(shape: Shape, gpu: GPU, tokens: float, efficiency: float) -> float:
    """Seconds of a GPU for the FLOPs of `tokens`, at that share of its peak."""
    return tokens * shape.flops / (efficiency * gpu.flops)


def fit(run: Run) -> tuple[float, float]:
    """Return the share of peak a run reaches: in all its time (MFU), and in that left by moving."""
    tokens = run.step_tokens / 8
    least = computing_seconds(run.shape, run.gpu, tokens, 1)
    moving = moving_seconds(run.shape, run.gpu, tokens, 8)
    return least / run.step_seconds, least / (run.step_seconds - moving)


MFU, EFFICIENCY = fit(SEEN)


def predict(run: Run) -> tuple[float, float]:
    """Return the seconds a step of a run should take, by one term (MFU) and by two."""
    tokens = run.step_tokens / 8
    two = computing_seconds(run.shape, run.gpu, tokens, EFFICIENCY)
    two += moving_seconds(run.shape, run.gpu, tokens, 8)
    return computing_seconds(run.shape, run.gpu, tokens, MFU), two


def batch_tokens(gpus: int) -> int:
    """Tokens of a step: 0.5M, or one sequence a GPU where that is more."""
    return max(BATCH, gpus * T)


def link_seconds(shape: Shape, gpus: int, sharded: bool, network: float = EIGHT) -> float:
    """Seconds of a step's communication: NVLink within a node of eight, else the network."""
    return shape.communication(gpus, sharded) / (NVLINK if gpus <= 8 else network)


def work_seconds(shape: Shape, gpus: int, sharded: bool) -> float:
    """Seconds of a step on H100s, communication apart."""
    tokens = batch_tokens(gpus) / gpus
    moving = moving_seconds(shape, H100, tokens, gpus if sharded else 1)
    return computing_seconds(shape, H100, tokens, EFFICIENCY) + moving


def step_seconds(shape: Shape, gpus: int, sharded: bool, network: float = EIGHT) -> float:
    """Seconds of a step: work, and what communication is not hidden behind it.

    DDP hides it behind the backward pass, two thirds of the work; fully_shard behind all of it.
    """
    work = work_seconds(shape, gpus, sharded)
    hidden = work if sharded else work * 2 / 3
    return work + max(0, link_seconds(shape, gpus, sharded, network) - hidden)


def tokens_per_second(shape: Shape, gpus: int, network: float = EIGHT) -> float:
    """Tokens/s of all GPUs, by whichever of DDP and fully_shard is quicker."""
    steps = (step_seconds(shape, gpus, sharded, network) for sharded in (False, True))
    return batch_tokens(gpus) / min(steps)


def best_interval(shape: Shape, gpus: int) -> tuple[float, float]:
    """Return seconds between checkpoints, sqrt(2 C MTBF), and the share of time that is lost.

    Young 1974, Daly 2006. Lost are writing, the work since the last checkpoint, and restarts.
    """
    mtbf = GPU_HOURS_A_FAILURE * 3600 / gpus
    cost = shape.checkpoint / DISK
    return sqrt(2 * cost * mtbf), sqrt(2 * cost / mtbf) + RESTART / mtbf


def critical_batch(loss: float) -> float:
    """Tokens: 2e8 / L^(1/0.21), Kaplan et al. 2020 (arXiv 2001.08361), section 5.1."""
    return 2e8 / loss ** (1 / 0.21)


def more_tokens(batch: int, loss: float) -> float:
    """How many times the tokens of a 0.5M batch reach a loss: (1 + B/B_crit), arXiv 1812.06162."""
    critical = critical_batch(loss)
    return (1 + batch / critical) / (1 + BATCH / critical)


def table(head: str, rows: list[list]) -> str:
    """Lay out a Markdown table: its head with bars, its rows as lists of cells."""
    lines = [head.split(" | "), ["---"] * len(head.split(" | ")), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def gb(*counts: float) -> list[str]:
    return [f"{count / 1e9:.2f}" for count in counts]


def ms(*seconds: float) -> list[str]:
    return [f"{1e3 * second:,.1f}" for second in seconds]


def run_row(use: str, run: Run) -> list:
    said = [f"{1e3 * s:,.0f} ms, {s / run.step_seconds - 1:+.0%}" for s in predict(run)]
    name = f"{run.shape.name}, 8 x {run.gpu.name}"
    measured = f"{1e3 * run.step_seconds:,.0f} ms"
    return [name, use, f"{run.step_tokens:,}", measured, *said, f"{fit(run)[1]:.2f}"]


def flops_row(s: Shape) -> list:
    moved = f"{s.traffic / 1e6:.1f} MB"
    share = f"{1 - 6 * s.parameters / s.flops:.0%}"
    totals = [f"{s.flops * n:.1e}" for n in TOKENS]
    return [s.name, f"{s.parameters:,}", f"{s.flops / 1e9:.2f} GFLOP", share, moved, *totals]


def memory_row(s: Shape) -> list:
    n = s.parameters
    sharded = (s.state(gpus, True) for gpus in GPUS[:3])
    return [s.name, *gb(4 * n, 4 * n, 8 * n, 2 * n, s.state(1, False), *sharded)]


def fits_row(s: Shape) -> list:
    kept = (T * s.activations(), T * s.activations(True))
    logits = T * s.logits
    most = [int((HBM - s.state(8, z)) // (k + logits)) for z in (False, True) for k in kept]
    return [s.name, *gb(*kept, logits), *most]


def sent_row(s: Shape, z: bool) -> list:
    few, many = (s.communication(gpus, z) for gpus in (GPUS[0], GPUS[-1]))
    name = "fully_shard" if z else "DDP"
    return [s.name, name, *gb(few), *ms(few / NVLINK), *gb(many), *ms(many / EIGHT, many / ONE)]


def step_row(s: Shape, gpus: int) -> list:
    steps = [step_seconds(s, gpus, z, net) for net in (EIGHT, ONE) for z in (False, True)]
    rates = [tokens_per_second(s, gpus, n) / tokens_per_second(s, 8) * 8 for n in (EIGHT, ONE)]
    work = work_seconds(s, gpus, False)
    kept = [f"{rate / gpus:.0%}" for rate in rates]
    return [s.name, f"{gpus:,}", f"{batch_tokens(gpus) // gpus:,}", *ms(work, *steps), *kept]


def hours_row(s: Shape, gpus: int) -> list:
    rate = tokens_per_second(s, gpus)
    hours = [f"{n / rate / 3600:.3g}" for n in TOKENS]
    return [s.name, f"{gpus:,}", f"{rate / 1e6:,.1f}M", *hours, f"{2 * rate / gpus / 1e3:,.0f}"]


def failures_row(s: Shape) -> list:
    best = [best_interval(s, gpus) for gpus in GPUS]
    cells = [f"{interval / 60:.0f} min, {lost:.2%}" for interval, lost in best]
    return [s.name, *gb(s.checkpoint), f"{s.checkpoint / DISK:.1f}", *cells]


def batch_row(k: int) -> list:
    more = [more_tokens(k * BATCH, loss) for loss in (3.3, 2.8)]
    cells = [f"{cell:.2f}" for m in more for cell in (m, m / k)]
    return [f"{k * BATCH:,}", f"{k * BATCH // T:,}", *cells]


def tables() -> dict[str, str]:
    """Return every table of docs/scale.md by its name."""
    runs = [run_row("fitted", SEEN), *(run_row("not seen", run) for run in UNSEEN)]
    pairs = [(shape, gpus) for shape in SHAPES for gpus in GPUS]
    tokens = " | ".join(f"{n // 10**9:,}B tokens" for n in TOKENS)
    clusters = " | ".join(f"{g:,} GPUs, MTBF {GPU_HOURS_A_FAILURE / g:,.0f} h" for g in GPUS)
    return {
        "runs": table("run | use | tokens a step | measured | one term | two terms "
                      "| efficiency it would need", runs),
        "flops": table(f"model | N | a token | of it attention | moved a token | {tokens}",
                       [flops_row(s) for s in SHAPES]),
        "memory": table("model | parameters | gradients | moments | bf16 copies | DDP, together "
                        "| fully_shard on 8 | on 64 | on 512", [memory_row(s) for s in SHAPES]),
        "sequences": table("model | activations | recomputed | logits | fit with DDP | recomputed "
                           "| fully_shard on 8 | recomputed", [fits_row(s) for s in SHAPES]),
        "communication": table("model | by | sent on 8, GB | NVLink, ms | sent on 4,096, GB | "
                               "eight adapters, ms | one adapter, ms",
                               [sent_row(s, z) for s in SHAPES for z in (False, True)]),
        "steps": table("model | GPUs | tokens a GPU | work | DDP | fully_shard | DDP, one adapter "
                       "| fully_shard, one adapter | scaling efficiency | with one adapter",
                       [step_row(*pair) for pair in pairs]),
        "hours": table(f"model | GPUs | tokens/s | {tokens} | read by a GPU, kB/s",
                       [hours_row(*pair) for pair in pairs]),
        "failures": table(f"model | checkpoint, GB | written in, s | {clusters}",
                          [failures_row(s) for s in SHAPES]),
        "batch": table("tokens a step | GPUs at most | tokens, to loss 3.3 | steps | tokens, to "
                       "loss 2.8 | steps", [batch_row(k) for k in (1, 2, 4, 8)]),
    }  # fmt: skip


if __name__ == "__main__":
    for name, text in tables().items():
        print(f"<!-- scale: {name} -->\n{text}\n")
