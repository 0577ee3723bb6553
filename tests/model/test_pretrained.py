"""The model in the package: trained, so that precisions can be judged by what they cost."""

import copy

import pytest

from minigpt2 import Sampling, evaluate, from_pretrained, generate, generate_batch
from minigpt2.data import Recipe, prepare
from minigpt2.interop.opening import PRETRAINED
from minigpt2.model import bytes_read, set_precision


@pytest.fixture(scope="module")
def trained():
    return from_pretrained(PRETRAINED)


@pytest.fixture(scope="module")
def val(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plays") / "data"
    return prepare(["shakespeare"], folder, Recipe(), tokenizer=trained[1]).val


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_what_is_written_does_not_depend_on_the_batch(trained, precision):
    model, tokenizer = copy.deepcopy(trained[0]), trained[1]
    set_precision(model, precision)
    [together] = generate_batch(model, tokenizer, ["ROMEO:"], Sampling(100, seed=50), n=7)
    for sample, text in enumerate(together):
        alone = generate(model, tokenizer, "ROMEO:", Sampling(100, seed=50 + sample))
        assert text == "".join(alone)


@pytest.mark.parametrize(("precision", "allowed"), [("bfloat16", 0.003), ("int8", 0.01)])
def test_perplexity_hardly_grows_with_fewer_bits(trained, val, precision, allowed):
    model = trained[0]
    small = copy.deepcopy(model)
    set_precision(small, precision)
    wanted, got = (evaluate(m, val, 256, 256).perplexity for m in (model, small))
    print(f"{precision}: perplexity {got:.4f}, fp32 {wanted:.4f}, {got / wanted - 1:+.4%}")
    assert abs(got / wanted - 1) < allowed
    assert bytes_read(small) < bytes_read(model) * {"bfloat16": 0.51, "int8": 0.28}[precision]
