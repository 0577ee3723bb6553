"""Train the small model that lies in the package, and put it there.

    python scripts/build_pretrained.py [RUN_DIR]

About ten minutes on two quiet CPU cores. A run that was broken off goes on. The weights of the
best evaluation are stored in bf16; the whole has to stay below 2 MB.
"""

import sys
from pathlib import Path

import torch

from minigpt2 import from_pretrained, resolve, save_pretrained, train
from minigpt2.interop.opening import PRETRAINED
from minigpt2.training import Evaluated

MOST_BYTES = 2_000_000
# The recipe of shakespeare-bpe with one layer more, twice the context, and a smaller vocabulary:
# what is saved on the embedding goes into layers.
RECIPE = {
    "model.n_layer": 4, "model.block_size": 256, "model.dropout": 0.1,
    "data.tokenizer": "bpe:512", "training.max_steps": 3000,
}  # fmt: skip


def main():
    run_dir = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/pretrained")
    settings = resolve("shakespeare-bpe", flags={**RECIPE, "logging.model_save_path": run_dir})
    for event in train(settings.config, say=print):
        if isinstance(event, Evaluated):
            print(f"step {event.step}: {event.val_loss:.4f}", flush=True)
    model, tokenizer = from_pretrained(run_dir)
    save_pretrained(model.to(torch.bfloat16), tokenizer, PRETRAINED)
    size = sum(path.stat().st_size for path in PRETRAINED.iterdir())
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{PRETRAINED}: {parameters:,} parameters, {size:,} bytes")
    assert size <= MOST_BYTES


if __name__ == "__main__":
    main()
