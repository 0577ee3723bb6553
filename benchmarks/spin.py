"""Training speed of the default model, alone or beside other programs, in tokens/s.

    GOMP_SPINCOUNT=1000 python benchmarks/spin.py

The variable is read when torch is imported: one process a setting.
"""

import os
import statistics
import time

import torch

from minigpt2 import GPT2, GPT2Config
from minigpt2.model import ATTENTION, set_attention

B, T, STEPS = 16, 128, 40

model = GPT2(GPT2Config(vocab_size=65, block_size=T, n_layer=3, n_head=4, n_embd=128))
set_attention(model, ATTENTION["explicit"])
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
tokens = torch.randint(65, (B, T))
seconds = []
for _ in range(STEPS):
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(tokens, tokens)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    seconds.append(time.perf_counter() - start)
setting = os.environ.get("GOMP_SPINCOUNT", "default")
print(
    f"spin {setting}: {B * T / statistics.median(seconds):,.0f} tokens/s, median of {STEPS} steps"
)
