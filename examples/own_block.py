"""Train a GPT-2 whose blocks are yours: here attention and MLP side by side (as in GPT-J)."""

import sys

from minigpt2 import GPT2, CharTokenizer, GPT2Config, resolve, train
from minigpt2.data import read_text
from minigpt2.model import Block


class ParallelBlock(Block):
    def forward(self, x, cache=None, mask=None):
        normed = self.ln_1(x)
        return x + self.attn(normed, cache, mask) + self.mlp(normed)


out, steps = sys.argv[1], sys.argv[2]
tokenizer = CharTokenizer.from_text(read_text("shakespeare"))
model = GPT2(GPT2Config(tokenizer.vocab_size, 64, 2, 4, 64), block=ParallelBlock)
flags = {"training.max_steps": steps, "logging.model_save_path": out}
for event in train(resolve(flags=flags).config, model=model, tokenizer=tokenizer):
    print(event)
