"""What is done to a finished model before it is trained, from outside, in one order.

The model knows nothing of it, and neither do its parameters' names change.
"""

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from minigpt2.config import Config
from minigpt2.model import ATTENTION, GPT2, set_attention
from minigpt2.training.plan import Plan


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
