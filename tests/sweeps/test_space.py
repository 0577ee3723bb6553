"""What can be searched, and what is said of what cannot."""

import pytest

from minigpt2.errors import ConfigError
from minigpt2.sweeps.space import Dimension, cells, parse_space


def test_lists_and_ranges_are_read_with_the_types_of_their_keys():
    assert parse_space(
        ["model.n-layer=2,4, 6", "training.learning_rate=log(1e-4,1e-2)", "model.dropout=0,0.1",
         "training.batch-size=uniform(8,32)", "training.schedule=cosine,wsd",
         "training.patience=none,3"]
    ) == [
        Dimension("model.n_layer", (2, 4, 6)),
        Dimension("training.learning_rate", (), 1e-4, 1e-2, "log"),
        Dimension("model.dropout", (0.0, 0.1)),
        Dimension("training.batch_size", (), 8, 32, "uniform"),
        Dimension("training.schedule", ("cosine", "wsd")),
        Dimension("training.patience", (None, 3)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model.n-layers=2,4", "did you mean model.n_layer"),
        ("model.layer=2", "did you mean"),
        ("model.n-layer", "KEY=VALUES"),
        ("model.n-layer=", "KEY=VALUES"),
        ("model.n-layer=2,x", "needs a whole number, not 'x'"),
        ("model.n-layer=2,,4", "a value is empty"),
        ("model.n-layer=0,1", "must be at least 1"),
        ("model.n-layer=2,2", "stands twice"),
        ("training.learning-rate=log(1e-2,1e-4)", "lower bound"),
        ("training.learning-rate=log(1e-3)", "two bounds"),
        ("training.weight-decay=log(0,1)", "begins above 0"),
        ("training.learning-rate=normal(0,1)", "no range normal"),
        ("training.schedule=uniform(1,2)", "list the values"),
        ("training.seed=1,2", "--seeds"),
        ("logging.model-save-path=a,b", "--out"),
        ("training.device=cpu,cuda", "one device"),
        ("model.n-layer=1..4", "ranges are log"),
        ("data.tokenizer=char,byte", "cannot be compared"),
        ("model.init=gpt2,gpt2-medium", "cannot be compared"),
    ],
)
def test_a_space_that_means_nothing_is_told(text, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        parse_space([text])


def test_all_mistakes_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        parse_space(["model.n-layer=x", "nothing=1", "training.max-steps=1,2",
                     "training.num-epochs=1,2", "training.max-steps=3"])  # fmt: skip
    assert len(caught.value.problems) == 4
    with pytest.raises(ConfigError, match="nothing to search"):
        parse_space([])


def test_a_grid_has_every_combination_once_and_no_range():
    space = parse_space(["model.n-layer=1,2", "model.n-head=1,2,4"], grid=True)
    found = cells(space)
    assert len(found) == 6 and len({tuple(cell.values()) for cell in found}) == 6
    with pytest.raises(ConfigError, match=r"a grid needs listed values, as in model\.dropout=a"):
        parse_space(["model.dropout=uniform(0,1e-1)"], grid=True)
