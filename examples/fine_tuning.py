"""Go on training a model on another text: the same trainer with another start."""

import sys

from minigpt2 import resolve, train
from minigpt2.training import starting_values

model, text, out, steps = sys.argv[1:]  # a run, a directory, or a hub name such as gpt2
start = starting_values(model, lora=True, say=print)  # its shape, and a rate that suits it
flags = {
    "model.init": model,
    "data.input_file": text,
    "training.max_steps": steps,
    "training.lora_rank": 8,
    "logging.model_save_path": out,
}
for event in train(resolve("finetune", flags=flags, base=start).config):
    print(event)
