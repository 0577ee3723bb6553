"""Go on training a model on another text: the same trainer with another start."""

import sys

from minigpt2 import from_pretrained, resolve, train

start, text, out, steps = sys.argv[1:]
model, tokenizer = from_pretrained(start)
flags = {
    "data.input_file": text,
    "model.block_size": model.config.block_size,
    "training.max_steps": steps,
    "training.learning_rate": 3e-4,
    "training.warmup_steps": 10,
    "training.patience": 3,
    "logging.model_save_path": out,
}
for event in train(resolve(flags=flags).config, model=model, tokenizer=tokenizer):
    print(event)
