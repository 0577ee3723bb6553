"""What the terminal tells in several lines, word for word."""

from types import SimpleNamespace

from minigpt2.terminal.layouts import filled

SHARE = {"value": 0.3256, "low": 0.3, "high": 0.35}


def measured(record):
    return filled("measured", record=record, **record).split("\n")


def test_a_task_is_told_with_its_interval_its_references_and_what_was_cut():
    record = {
        "task": "lambada", "items": 5153, "left_out": 2, "cut": 1234, "accuracy": SHARE,
        "accuracy_normed": None, "perplexity": 40.1, "data": "lambada", "limit": None, "window": 64,
        "references": {"gpt2, paper": {"accuracy": 0.4599, "perplexity": 35.13}},
    }  # fmt: skip
    assert measured(record) == [
        "accuracy | 32.56 %  (95 %: 30.00 to 35.00)",
        "perplexity of the words | 40.1000",
        "  gpt2, paper | 45.99 %; perplexity 35.13",
        "protocol | 5,153 items of lambada; window 64, fp32; 1,234 contexts cut from the left; 2 "
        "items left out: their answers exceed the window; published values were measured without "
        "that",
    ]


def test_a_loss_is_told_by_place_by_document_and_beside_what_counting_reaches():
    record = {
        "task": "loss", "loss": 3.5, "perplexity": 1e8, "bits_per_byte": None, "window": 64,
        "stride": 1, "tokens": 12345, "data": "a text", "split": "val", "by_document": True,
        "masked": True, "baselines": {"uniform": 4.0, "bigram": 3.0},
        "by_position": [{"least": 1, "loss": 2.345}, {"least": 2, "loss": 1.2}],
        "documents": {"count": 1234, "quarter": 1.0, "median": 2.0, "three_quarters": 3.0,
                      "best": (0, 1.0), "worst": (7, 9.123)},
        "writing": {"samples": 3, "characters": 12345, "distinct_1": 0.5, "distinct_2": 0.6,
                    "distinct_3": 0.7, "seq_rep_4": 0.01, "held_out": None,
                    "copied": {"longest": 40, "median": 12.5, "text": "it's\n" * 30}},
    }  # fmt: skip
    assert measured(record) == [
        "loss, nats a token | 3.5000",
        "perplexity a token | 1e+08",
        "  uniform | 4.0000",
        "  bigram | 3.0000  the model is behind it",
        "protocol | 12,345 tokens of a text, val; each document in windows of 64, stride 1, fp32; "
        "documents do not see one another",
        "loss after n tokens | 1: 2.35  2: 1.20",
        "1,234 documents | half of them from 1.000 to 3.000, median 2.000; worst: number 7 with "
        "9.123",
        "3 samples | 12,345 characters",
        "distinct words, pairs, triples | 50.0 %, 60.0 %, 70.0 %",
        "repeated spans of 4 words | 1.0 % within a sample",
        "longest copied from training | 40 characters, median 12 a sample (unseen text: 0, median "
        "nan)",
        " | " + repr("it's\n" * 14),
    ]


def test_the_end_of_a_run_tells_its_loss_beside_others_and_what_is_next():
    end = {"best_loss": 1.5, "best_step": 30, "bigram_loss": 2.0, "step": 40, "seconds": 3.3,
           "run_dir": "runs/x", "reason": "patience", "command": "minigpt2"}  # fmt: skip
    assert filled("finished", **end, start_loss=1.4).split("\n") == [
        "validation loss 1.5000 nats a token over the whole split, at step 30; a bigram table "
        "reaches 2.0000; before training it was 1.4000, and training made it worse",
        "40 steps in 3 s (no better evaluation came); curve: runs/x/loss.png",
        "next:",
        "  minigpt2 chat runs/x",
        "  minigpt2 generate runs/x --max-new-tokens 1000",
    ]
    assert filled("finished", **end | {"best_loss": None}, start_loss=None).startswith("40 steps")


def test_the_end_of_a_sweep_tells_how_sure_its_best_trial_is():
    end = {"best": {"trial": 3, "loss": 1.1}, "out_dir": "o", "command": "minigpt2"}
    others = [{"trial": 1}, {"trial": 2}]
    assert "(within 0.1000): trial 1, 2\n" in filled("swept", **end, equals=others, reach=0.1)
    assert "comes within 0.0000" in filled("swept", **end, equals=[], reach=0.0)
    assert "one seed a trial" in filled("swept", **end, equals=None, reach=None)
    assert filled("swept", **end | {"best": None}) == "no trial was completed"


def test_what_cleaning_touched_is_told_with_an_example():
    report = {"characters": 1234, "documents": 5, "example": ("\u201cx", "")}
    told = {"vocab_size": 4096, "dtype": "uint16", "split": "files"}
    cleaning = {"quotes": report, "blanks": report | {"example": None}}
    assert filled("prepared", **told, cleaning=cleaning).split("\n") == [
        "4,096 tokens in the vocabulary, uint16; split as given",
        "quotes: 1,234 characters in 5 documents, as in '\\u201cx' -> nothing",
        "blanks: 1,234 characters in 5 documents",
    ]


def test_the_start_of_a_run_tells_its_text_model_plan_and_memory():
    splits = {"train": {"characters": 9000}, "val": {"characters": 1000}}
    told = filled(
        "started",
        data=SimpleNamespace(manifest={"splits": splits}, tokenizer=SimpleNamespace(vocab_size=65)),
        parameters=2000, trained=100, run_dir="runs/x",
        plan=SimpleNamespace(describe=lambda: "cpu"),
        memory=SimpleNamespace(describe=lambda: "1 MB"),
    )  # fmt: skip
    assert told.split("\n") == [
        "text: 9,000 characters to learn from, 1,000 to validate; 65 symbols",
        "model: 2,000 parameters, 100 of them trained; run: runs/x",
        "plan: cpu",
        "memory: 1 MB",
    ]
