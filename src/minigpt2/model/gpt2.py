"""GPT-2, exactly: pre-LayerNorm blocks, learned positions, GELU, tied head.

It knows tensors and nothing else: no disk, tokenizer, optimizer, precision policy or process.
Whatever changes how it runs (autocast, compilation, another attention path) is applied to the
finished model from outside. Parameter names are the released checkpoint's own.

Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"; blocks from
Vaswani et al. 2017 (arXiv 1706.03762); tied embeddings from Press and Wolf 2016 (1608.05859).

Shapes: B batch, T time, C = n_embd, H = n_head, D = C // H, V = vocab_size, S = past + T.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minigpt2.model.attention import ATTENTION, Attend, fused_attention

# From the normed stream (B, T, C) and the embedding (V, C) to logits (B, T, V).
Head = Callable[[Tensor, Tensor], Tensor]
# Under their names in released checkpoints: GPT-2's own, and the exact one of some descendants
# (Hendrycks and Gimpel 2016, arXiv 1606.08415).
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu": F.gelu,
}


@dataclass(frozen=True)
class GPT2Config:
    """The numbers that fix a GPT-2's shape; everything else about it is GPT-2.

    The last three are as released unless a model from elsewhere says otherwise: `n_inner` None is
    four times n_embd, `activation_function` one of `ACTIVATIONS`.
    """

    vocab_size: int
    block_size: int = 1024
    n_layer: int = 12
    n_head: int = 12
    n_embd: int = 768
    dropout: float = 0.0
    n_inner: int | None = None
    activation_function: str = "gelu_new"
    layer_norm_epsilon: float = 1e-5

    def __post_init__(self) -> None:
        if self.n_embd % self.n_head:
            raise ValueError(f"n_embd {self.n_embd} is not a multiple of n_head {self.n_head}")
        if self.activation_function not in ACTIVATIONS:
            raise ValueError(f"activation_function {self.activation_function!r} is unknown here")


class KVCache:
    """Keys and values of the tokens already read: of each layer (B, H, block_size, D) twice.

    Pass it to `GPT2.forward`; it is extended in place and `length` counts the tokens it holds.
    It is for inference: no gradient flows through it. `size` may be less than block_size.
    """

    def __init__(
        self,
        config: GPT2Config,
        batch_size: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        size: int | None = None,
    ) -> None:
        D = config.n_embd // config.n_head
        shape = (batch_size, config.n_head, size or config.block_size, D)
        layers = range(config.n_layer)
        self.k = [torch.zeros(shape, device=device, dtype=dtype) for _ in layers]
        self.v = [torch.zeros(shape, device=device, dtype=dtype) for _ in layers]
        self.length = 0

    def extend(self, layer: int, k_BHTD: Tensor, v_BHTD: Tensor) -> tuple[Tensor, Tensor]:
        """Write one layer's new keys and values; return all of them so far, (B, H, S, D) each."""
        k, v, end = self.k[layer], self.v[layer], self.length + k_BHTD.shape[2]
        k[:, :, self.length : end] = k_BHTD.detach()
        v[:, :, self.length : end] = v_BHTD.detach()
        return k[:, :, :end], v[:, :, :end]


class CausalSelfAttention(nn.Module):
    """Multi-head attention in which a position sees itself and what came before."""

    def __init__(self, config: GPT2Config, layer: int) -> None:
        super().__init__()
        self.n_head, self.layer, self.dropout = config.n_head, layer, config.dropout
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd)
        self.resid_dropout = nn.Dropout(config.dropout)
        self.attend: Attend = fused_attention  # replaced from outside by `set_attention`

    def forward(
        self, x: Tensor, cache: KVCache | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Map (B, T, C) to (B, T, C), reading and extending `cache` when given."""
        B, T, C = x.shape
        heads = self.c_attn(x).view(B, T, 3, self.n_head, C // self.n_head)
        q_BHTD, k_BHTD, v_BHTD = heads.permute(2, 0, 3, 1, 4).unbind(0)
        if cache is not None:
            k_BHTD, v_BHTD = cache.extend(self.layer, k_BHTD, v_BHTD)
        dropout = self.dropout if self.training else 0.0
        y_BHTD = self.attend(q_BHTD, k_BHTD, v_BHTD, dropout, mask)
        return self.resid_dropout(self.c_proj(y_BHTD.transpose(1, 2).reshape(B, T, C)))


class MLP(nn.Module):
    """Two linear maps around a GELU, four times as wide inside."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        inner = config.n_inner or 4 * config.n_embd
        self.c_fc = nn.Linear(config.n_embd, inner)
        self.c_proj = nn.Linear(inner, config.n_embd)
        self.act = ACTIVATIONS[config.activation_function]
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, C) to (B, T, C)."""
        return self.dropout(self.c_proj(self.act(self.c_fc(x))))


class Block(nn.Module):
    """Attention, then MLP, each read from a normed copy and added to the residual stream."""

    def __init__(self, config: GPT2Config, layer: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.attn = CausalSelfAttention(config, layer)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.mlp = MLP(config)

    def forward(
        self, x: Tensor, cache: KVCache | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Map the residual stream (B, T, C) to the next layer's."""
        x = x + self.attn(self.ln_1(x), cache, mask)
        return x + self.mlp(self.ln_2(x))


class GPT2(nn.Module):
    """The whole model: tokens in, next-token logits (or their loss) out.

    `block` is any module built as `block(config, layer)` and called as `block(x, cache, mask)`.
    """

    def __init__(
        self, config: GPT2Config, block: Callable[[GPT2Config, int], nn.Module] = Block
    ) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.drop = nn.Dropout(config.dropout)
        self.h = nn.ModuleList(block(config, layer) for layer in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.head: Head = F.linear  # replaced from outside by `set_precision`
        self.apply(_init_weights)
        for name, parameter in self.named_parameters():
            # Each block adds twice to the residual stream: keep its variance at depth (GPT-2, 2.3).
            if name.endswith("c_proj.weight"):
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * config.n_layer))

    def forward(
        self,
        tokens: Tensor,
        targets: Tensor | None = None,
        cache: KVCache | None = None,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        last: int | None = None,
    ) -> Tensor:
        """Logits (B, T, V) of `tokens` (B, T); with `targets` (B, T) their mean cross-entropy.

        The loss is in nats a token; targets of -100 are left out. `positions` (B, T) replace the
        count from the left, `mask` (B, 1, T, S), True where a token may look, the causal one.
        `last` asks for the logits of so many last tokens only: the head is dear.
        Raises ValueError where the cached and new tokens together exceed block_size.
        """
        past, T = (cache.length if cache else 0), tokens.shape[1]
        if past + T > self.config.block_size:
            raise ValueError(f"{past} + {T} tokens exceed block_size {self.config.block_size}")
        if positions is None:
            positions = torch.arange(past, past + T, device=tokens.device)
        x = self.drop(self.wte(tokens) + self.wpe(positions))
        for block in self.h:
            x = block(x, cache, mask)
        if cache is not None:
            cache.length += T
        if last is not None:
            x = x[:, T - last :]
        logits = self.head(self.ln_f(x), self.wte.weight)  # the head is the embedding: tied
        return logits if targets is None else cross_entropy(logits, targets)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean loss in nats of logits (B, T, V) at targets (B, T), in fp32; -100 is left out."""
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def set_attention(model: nn.Module, attend: Attend) -> None:
    """Give every attention layer another implementation of the same mathematics.

    A layer whose `attend` is none of `ATTENTION` is somebody's own and is left alone.
    """
    for module in model.modules():
        if isinstance(module, CausalSelfAttention) and module.attend in ATTENTION.values():
            module.attend = attend


def _init_weights(module: nn.Module) -> None:
    # 0.02 is GPT-1's and GPT-2's standard deviation (Radford et al. 2018, section 4.1).
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
