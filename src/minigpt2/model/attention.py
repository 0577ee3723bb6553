"""Causal attention, three ways to compute one thing; which is fastest depends on the machine.

Every function takes q (B, H, T, D), k and v (B, H, S, D) with S >= T, and returns (B, H, T, D):
the T queries are the last T of the S positions. A mask (B, 1, T, S), True where a query may look,
takes the causal one's place. Vaswani et al. 2017, section 3.2.1.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Attend = Callable[[Tensor, Tensor, Tensor, float, Tensor | None], Tensor]


def attention_weights(q_BHTD: Tensor, k_BHSD: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax of the scaled, masked scores: (B, H, T, S), rows summing to 1."""
    return attention_scores(q_BHTD, k_BHSD, mask).softmax(dim=-1)


def attention_scores(q_BHTD: Tensor, k_BHSD: Tensor, mask: Tensor | None = None) -> Tensor:
    """How well each query fits each key, (B, H, T, S); -inf where it may not look."""
    scores_BHTS = (q_BHTD * (1.0 / math.sqrt(q_BHTD.shape[3]))) @ k_BHSD.transpose(2, 3)
    seen = causal_mask(q_BHTD, k_BHSD) if mask is None else mask
    return scores_BHTS.masked_fill(~seen, float("-inf"))


def causal_mask(q_BHTD: Tensor, k_BHSD: Tensor) -> Tensor:
    """True where one of the last T positions may look among all S: (T, S)."""
    T, S = q_BHTD.shape[2], k_BHSD.shape[2]
    return torch.ones(T, S, dtype=torch.bool, device=q_BHTD.device).tril(S - T)


def explicit_attention(
    q_BHTD: Tensor, k_BHSD: Tensor, v_BHSD: Tensor, dropout: float, mask: Tensor | None = None
) -> Tensor:
    """Product, mask, softmax, product: what the paper writes, and often fastest at small T."""
    weights_BHTS = F.dropout(attention_weights(q_BHTD, k_BHSD, mask), dropout)
    return weights_BHTS.to(v_BHSD.dtype) @ v_BHSD


def fused_attention(
    q_BHTD: Tensor, k_BHSD: Tensor, v_BHSD: Tensor, dropout: float, mask: Tensor | None = None
) -> Tensor:
    """Torch's fused kernel (flash attention where the device has it)."""
    if mask is None and q_BHTD.shape[2] == k_BHSD.shape[2]:
        return F.scaled_dot_product_attention(
            q_BHTD, k_BHSD, v_BHSD, dropout_p=dropout, is_causal=True
        )
    # The kernel's own causal mask counts from the first key; ours from the last. The last position
    # alone sees all.
    seen = causal_mask(q_BHTD, k_BHSD) if mask is None and q_BHTD.shape[2] > 1 else mask
    return F.scaled_dot_product_attention(q_BHTD, k_BHSD, v_BHSD, seen, dropout)


def fused_fp32_attention(
    q_BHTD: Tensor, k_BHSD: Tensor, v_BHSD: Tensor, dropout: float, mask: Tensor | None = None
) -> Tensor:
    """The fused kernel in fp32 inside a bf16 step: its bf16 backward is slow on some CPUs."""
    with torch.autocast(q_BHTD.device.type, enabled=False):
        y_BHTD = fused_attention(q_BHTD.float(), k_BHSD.float(), v_BHSD.float(), dropout, mask)
    return y_BHTD.to(v_BHSD.dtype)


ATTENTION: dict[str, Attend] = {
    "explicit": explicit_attention,
    "fused": fused_attention,
    "fused-fp32": fused_fp32_attention,
}
