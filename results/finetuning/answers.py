"""Fine-tune a model that knows plays on conversations of one form; ask it before and after.

python results/finetuning/answers.py BASE_RUN OUT_DIR
"""

import json
import random
import re
import subprocess
import sys
from pathlib import Path

from minigpt2 import from_pretrained, generate
from minigpt2.generation import Sampling
from minigpt2.tokenizers import NEXT_TURN, transcript

FORM = re.compile(r" (\d+) comes after (\d+)\.")


def main() -> None:
    base, out = map(Path, sys.argv[1:])
    numbers = random.Random(1).sample(range(400), 400)
    asked, kept = numbers[:40], numbers[40:]
    out.mkdir(parents=True)
    lines = [json.dumps({"messages": [
        {"role": "user", "content": f"What comes after {n}?"},
        {"role": "assistant", "content": f"{n + 1} comes after {n}."},
    ]}) + "\n" for n in kept]  # fmt: skip
    (out / "counting.jsonl").write_text("".join(lines), encoding="utf-8")
    run = out / "run"
    subprocess.run(
        [sys.executable, "-m", "minigpt2", "finetune", base, out / "counting.jsonl", "--out", run,
         "--data.special-tokens", "<|endoftext|>", "--training.num-epochs", "40",
         "--training.patience", "20"],
        check=True, capture_output=True,
    )  # fmt: skip
    for name, folder in (("before", base), ("after", run)):
        model, tokenizer = from_pretrained(folder)
        in_form = right = 0
        for n in asked:
            prompt = transcript([{"role": "user", "content": f"What comes after {n}?"}])
            sampling = Sampling(30, 0.0, stop=(NEXT_TURN,))
            answer = "".join(generate(model, tokenizer, prompt, sampling))
            found = FORM.fullmatch(answer)
            in_form += bool(found)
            right += bool(found) and (int(found[1]), int(found[2])) == (n + 1, n)
            if n == asked[0]:
                print(f"{name}: {prompt!r} -> {answer!r}")
        print(f"{name}: {in_form} of {len(asked)} unseen questions answered in form, {right} right")


if __name__ == "__main__":
    main()
