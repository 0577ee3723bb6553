"""Give the trainer a tokenizer of your own: here characters in lower case only."""

import sys

from minigpt2 import CharTokenizer, from_pretrained, generate, resolve, train
from minigpt2.data import read_text


class LowerCase(CharTokenizer):
    def encode(self, text):
        return super().encode(text.lower())


out, steps = sys.argv[1], sys.argv[2]
tokenizer = LowerCase(sorted(set(read_text("shakespeare").lower())))
flags = {"training.max_steps": steps, "logging.model_save_path": out}
for event in train(resolve(flags=flags).config, tokenizer=tokenizer):
    print(event)
model, _ = from_pretrained(out)
print("".join(generate(model, tokenizer, "ROMEO:")))
