"""The parts without the trainer: a loop of your own over the same model, data and batches."""

import sys
from pathlib import Path

import torch

from minigpt2 import GPT2, GPT2Config, evaluate, save_pretrained
from minigpt2.data import Recipe, prepare
from minigpt2.data.batches import Batches

out, steps = Path(sys.argv[1]), int(sys.argv[2])
data = prepare(["shakespeare"], out / "data", Recipe(tokenizer="char"))
model = GPT2(GPT2Config(data.tokenizer.vocab_size, block_size=64, n_layer=2, n_head=4, n_embd=64))
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
batches = Batches(data.train, batch_size=12, length=64, seed=1)
for step in range(steps):
    loss = model(*batches.batch(step))
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    print(step, loss.item())
print(evaluate(model, data.val))
save_pretrained(model, data.tokenizer, out / "model")
