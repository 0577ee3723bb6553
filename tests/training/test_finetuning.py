"""Fine-tuning: the same trainer from another start, resumed as exactly, learning answers alone."""

import json

import pytest
import torch

from minigpt2 import from_pretrained, resolve, save_pretrained, train
from minigpt2.checkpoints import RunDirectory
from minigpt2.config import TrainingSection
from minigpt2.data import Recipe, prepare
from minigpt2.data.batches import DocumentRows
from minigpt2.errors import ConfigError, DataError
from minigpt2.model import GPT2, Bigram, BigramConfig, GPT2Config, lora_layers
from minigpt2.tokenizers import (
    END_OF_TEXT,
    TRANSCRIPT,
    ByteTokenizer,
    gpt2_tokenizer,
    load_tokenizer,
    transcript,
    with_specials,
)
from minigpt2.training import Evaluated, Started, Step, checkpoint_blocks, starting_values
from minigpt2.training.optimizers import build_optimizer

SHORT = {
    "training.batch_size": 5,
    "training.max_steps": 12,
    "training.learning_rate": 1e-2,
    "training.eval_interval": 4,
    "training.dtype": "float32",
    "training.attention": "explicit",
    "logging.log_interval": 1,
    "logging.save_interval": 3,
    "logging.sample_interval": 100,
}
LORA = {"training.lora_rank": 2, "training.lora_dropout": 0.3}


@pytest.fixture
def base(tiny, tokenizer, tmp_path):
    save_pretrained(tiny, tokenizer, tmp_path / "base-model")
    return tmp_path / "base-model"


def config_for(base, text, out, **more):
    start = starting_values(str(base), "training.lora_rank" in more, lambda line: None)
    flags = {"model.init": str(base), "data.input_file": str(text)}
    flags |= {"logging.model_save_path": str(out), **SHORT, **more}
    return resolve("finetune", None, {}, flags, base=start).config


def losses(run_dir):
    log = RunDirectory(run_dir).read_log()
    kinds = ("step", "tokens", "train_loss", "grad_norm", "val_loss", "train_eval_loss")
    return [{key: entry[key] for key in kinds if key in entry} for entry in log]


def test_it_starts_from_the_model_and_measures_it_first(base, tiny, text_file, tmp_path):
    events = list(train(config_for(base, text_file, tmp_path / "run")))
    first = next(event for event in events if isinstance(event, Evaluated))
    assert first.step == 0 and not first.is_best
    assert losses(tmp_path / "run")[0]["val_loss"] == first.val_loss
    kinds = [type(event).__name__ for event in events]
    assert kinds.index("Evaluated") < kinds.index("Step")
    [best] = [event for event in events if isinstance(event, Evaluated) and event.step == 12]
    assert best.val_loss < first.val_loss


def test_rate_and_shape_suit_the_model(base):
    values = starting_values(str(base), False, lambda line: None)
    assert values["model.n_layer"] == 2 and values["model.block_size"] == 13
    for width, rate in ((768, 5e-5), (1600, 1e-5), (128, 2e-3)):
        model = GPT2(GPT2Config(29, 5, 1, 1, width))
        folder = base.parent / str(width)
        save_pretrained(model, ByteTokenizer(), folder)
        assert starting_values(str(folder), False, print)["training.learning_rate"] == rate
        lora = starting_values(str(folder), True, print)["training.learning_rate"]
        assert lora == pytest.approx(min(10 * rate, 1e-2))


@pytest.mark.parametrize(
    "more",
    [
        {"training.freeze": "wte,h.0"},
        {**LORA},
        {**LORA, "training.freeze": "h.0.*.lora_A", "model.block_size": 17},
        {"data.special_tokens": "<u>", "model.block_size": 11},
        {"training.activation_checkpointing": 1, "model.dropout": 0.3},
    ],
    ids=["frozen", "lora", "lora, longer", "tokens, shorter", "checkpointing"],
)
def test_resume_is_bit_exact(base, text_file, tmp_path, more):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    list(train(config_for(base, text_file, whole, **more)))
    config = config_for(base, text_file, broken, **more)
    done = 0
    for stop_at in (3, 5, 8):
        count = iter(range(done + 1, 100))
        stop = lambda stop_at=stop_at, count=count: next(count) >= stop_at  # noqa: E731
        assert list(train(config, stop=stop))[-1].step == stop_at
        if done == 0:  # what it started from is needed no more
            base.rename(base.with_name("gone"))
        done = stop_at
    assert list(train(config))[-1].reason == "complete"
    assert losses(broken) == losses(whole)
    (ours, _), (again, _) = from_pretrained(whole), from_pretrained(broken)
    for (name, a), (_, b) in zip(ours.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(a, b), name


def test_a_run_killed_before_its_first_checkpoint_begins_again(base, text_file, tmp_path):
    config = config_for(base, text_file, tmp_path / "run")
    events = train(config)
    while not isinstance(next(events), Step):
        pass
    events.close()
    assert [entry["step"] for entry in losses(tmp_path / "run")][:1] == [0]
    list(train(config))
    assert [entry["step"] for entry in losses(tmp_path / "run")] == list(range(13))


def test_lora_keeps_its_base_and_saves_adapters_alone(base, tiny, text_file, tmp_path):
    out = tmp_path / "run"
    events = list(train(config_for(base, text_file, out, **LORA)))
    started = next(event for event in events if isinstance(event, Started))
    assert started.trained < started.parameters / 3
    folder = next(out.glob("step-00000012"))
    assert {path.name for path in folder.iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors", "manifest.json",
        "optimizer.safetensors", "state.json", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    kept, _ = from_pretrained(out / "base")
    for (name, a), (_, b) in zip(tiny.named_parameters(), kept.named_parameters(), strict=True):
        assert torch.equal(a, b), name
    model, _ = from_pretrained(out)
    assert lora_layers(model)
    from safetensors.torch import load_file

    state = load_file(folder / "optimizer.safetensors")
    assert state and all("lora_" in name for name in state)
    moved = out.rename(tmp_path / "elsewhere")
    tokens = torch.arange(11)[None]
    assert torch.equal(from_pretrained(moved)[0](tokens), model(tokens))


def test_the_base_of_a_lora_run_is_the_one_it_was_trained_on(base, tiny, text_file, tmp_path):
    out = tmp_path / "run"
    other = GPT2(tiny.config)
    save_pretrained(other, from_pretrained(base)[1], out / "base")  # left there by somebody
    list(train(config_for(base, text_file, out, **LORA)))
    kept, _ = from_pretrained(out / "base")
    assert torch.equal(kept.wte.weight, tiny.wte.weight)
    save_pretrained(other, from_pretrained(base)[1], out / "base")
    with pytest.raises(DataError, match="is not the model that"):
        from_pretrained(out)


def test_recomputing_may_be_chosen_when_a_run_goes_on(base, text_file, tmp_path):
    config = config_for(base, text_file, tmp_path / "run")
    list(train(config, stop=lambda: True))
    more = {"training.activation_checkpointing": 1}
    assert list(train(config_for(base, text_file, tmp_path / "run", **more)))[-1].step == 12


def test_too_little_text_is_said_with_what_to_do(base, tmp_path):
    (tmp_path / "little.txt").write_text("the fox and the dog.\n" * 9)
    lines = []
    more = {"training.max_steps": None, "training.num_epochs": 3}
    config = config_for(base, tmp_path / "little.txt", tmp_path / "run", **more)
    list(train(config, say=lines.append))
    assert any("steps in 3 epochs; --training.num-epochs" in line for line in lines)
    assert any("tokens are held out" in line for line in lines)


def test_frozen_parts_stay_and_the_rest_moves(base, tiny, text_file, tmp_path):
    list(train(config_for(base, text_file, tmp_path / "run", **{"training.freeze": "wte,h.0"})))
    model, _ = from_pretrained(tmp_path / "run")
    for (name, a), (_, b) in zip(tiny.named_parameters(), model.named_parameters(), strict=True):
        assert torch.equal(a, b) == name.startswith(("wte", "h.0.")), name


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({"training.freeze": "h.9"}, "'h.9'"),
        ({**LORA, "training.lora_targets": "q_proj"}, "c_attn, c_fc, c_proj"),
        ({"model.n_layer": 3}, "model.n_layer 3: .* has 2"),
        ({"data.special_tokens": "a b"}, "no blanks"),
        ({"data.special_tokens": "x"}, "two characters"),
        ({"data.tokenizer": "char"}, "data.tokenizer char: .* keeps its own"),
        ({**LORA, "data.special_tokens": "<u>,<e>"}, "with LoRA the new tokens' rows"),
    ],
)
def test_what_cannot_be_meant_is_told(base, text_file, tmp_path, more, match):
    with pytest.raises(ConfigError, match=match):
        list(train(config_for(base, text_file, tmp_path / "run", **more)))
    assert not (tmp_path / "run/config.yaml").exists()


def test_a_token_of_the_vocabulary_cannot_be_added():
    with pytest.raises(ConfigError, match="a token of the vocabulary already"):
        with_specials(gpt2_tokenizer(), ["the"])


def test_a_bigram_has_nothing_to_fine_tune(tokenizer, tmp_path):
    save_pretrained(Bigram(BigramConfig(29, 13)), tokenizer, tmp_path / "b")
    with pytest.raises(DataError, match="minigpt2-bigram"):
        starting_values(str(tmp_path / "b"), False, print)


def test_added_tokens_are_found_in_the_text_and_get_rows(base, tmp_path):
    text = tmp_path / "turns.txt"
    text.write_text("<u>the fox<e>" * 200)
    out = tmp_path / "run"
    list(train(config_for(base, text, out, **{"data.special_tokens": "<u>, <e>"})))
    model, tokenizer = from_pretrained(out)
    assert tokenizer.encode("<u>fox<e>") == [29, *tokenizer.encode("fox"), 30]
    assert model.config.vocab_size == 31
    assert json.loads((out / "best/config.json").read_text())["vocab_size"] == 31


def test_tokens_are_added_to_every_kind_of_tokenizer(tokenizer, tmp_path):
    for kind in (tokenizer, ByteTokenizer(), gpt2_tokenizer()):
        grown = with_specials(kind, ["<u>", END_OF_TEXT, "<u>"])
        new = 1 if kind.eos_id is not None else 2
        assert grown.vocab_size == kind.vocab_size + new
        ids = grown.encode("fox <u>")
        assert ids == [*kind.encode("fox "), grown.specials["<u>"]]
        assert grown.decode(ids) == "fox <u>"
        assert with_specials(grown, ["<u>"]) is grown


# --- what is learnt -----------------------------------------------------------------------------


def conversations(path, count=40):
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            messages = [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": f"what is {number}? "},
                {"role": "assistant", "content": f"it is {number}"},
                {"role": "user", "content": "sure?"},
                {"role": "assistant", "content": "yes"},
            ]
            file.write(json.dumps({"messages": messages}) + "\n")
    return path


def test_of_conversations_the_answers_alone_are_targets(tmp_path):
    path = conversations(tmp_path / "chat.jsonl")
    data = prepare([str(path)], tmp_path / "d", Recipe("byte", val_fraction=0.2))
    assert data.manifest["prompts"] == data.manifest["turns"] == 80
    decode = data.tokenizer.decode
    answers = []
    for _, stop, first in DocumentRows(data.all, 1000):
        answers.append(decode(data.all.read(first, stop).tolist()))
    wanted = [text for n in range(40) for text in (f" it is {n}<|endoftext|>", " yes<|endoftext|>")]
    assert sorted(answers) == sorted(wanted)
    start, _, end = data.all.documents.read(0, 2)
    whole = decode(data.all.read(int(start[1]), int(end[1])).tolist())
    assert whole.startswith("System: be brief\nUser: what is ")
    assert whole.endswith("\nUser: sure?\nAssistant: yes<|endoftext|>")


def test_a_conversation_falls_to_one_split(tmp_path):
    path = conversations(tmp_path / "chat.jsonl", 100)
    data = prepare([str(path)], tmp_path / "d", Recipe("byte", val_fraction=0.2))
    numbers = {}
    for split in ("train", "val"):
        stream = getattr(data, split)
        text = data.tokenizer.decode(stream.read(0, len(stream)).tolist())
        numbers[split] = {n for n in range(100) if f"what is {n}?" in text}
    assert numbers["train"] and numbers["val"] and not numbers["train"] & numbers["val"]


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ('{"messages": []}', "no list of messages"),
        ('{"messages": "hi"}', "no list of messages"),
        ('{"messages": [{"role": "user", "content": "x"}]}', "nobody speaks as assistant"),
        ('{"messages": [{"role": "tool", "content": "x"}]}', "role 'tool'; roles are system"),
        ('{"messages": [{"role": "user", "content": ["x"]}]}', "content"),
        ('{"messages": ["x"]}', "a message is"),
    ],
)
def test_a_conversation_that_is_none_is_told_with_its_line(tmp_path, line, match):
    path = conversations(tmp_path / "chat.jsonl", 3)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(DataError, match=f"line 4: .*{match}"):
        prepare([str(path)], tmp_path / "d", Recipe("byte"))
    prepare([str(path)], tmp_path / "e", Recipe("byte", skip_bad=True))


def test_conversations_in_parquet_are_those_in_jsonl(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = conversations(tmp_path / "chat.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "chat.parquet")
    one = prepare([str(path)], tmp_path / "a", Recipe("byte"))
    two = prepare([str(tmp_path / "chat.parquet")], tmp_path / "b", Recipe("byte"))
    assert (one.all.read(0, len(one.all)) == two.all.read(0, len(two.all))).all()


def test_the_template_is_what_transformers_renders(tmp_path):
    transformers = pytest.importorskip("transformers")
    from minigpt2.tokenizers import tokenizer_files

    path = conversations(tmp_path / "chat.jsonl")
    data = prepare([str(path)], tmp_path / "d", Recipe("byte"))
    assert data.tokenizer.chat_template == TRANSCRIPT
    assert load_tokenizer(tmp_path / "d").chat_template == TRANSCRIPT
    for name, content in tokenizer_files(data.tokenizer, 64).items():
        (tmp_path / name).write_bytes(content)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    messages = json.loads(path.read_text().splitlines()[3])["messages"]
    for cut in (2, 4):
        shown = theirs.apply_chat_template(
            messages[:cut], tokenize=False, add_generation_prompt=True
        )
        assert shown == transcript(messages[:cut])
    whole = theirs.apply_chat_template(messages, tokenize=False)
    assert whole == transcript(messages[:4]) + " yes\n"


def test_prompts_make_rows_of_documents_and_texts_packed_ones(base, text_file, tmp_path):
    path = tmp_path / "pairs.jsonl"
    lines = [json.dumps({"prompt": f"fox {n % 7}".replace(str(n % 7), "abcdefg"[n % 7]),
                         "answer": " dog"}) for n in range(200)]  # fmt: skip
    path.write_text("\n".join(lines) + "\n")
    more = {"data.special_tokens": END_OF_TEXT, "training.learning_rate": 1e-2,
            "training.max_steps": 60, "training.patience": None}  # fmt: skip
    for source, form in ((path, "documents"), (text_file, "windows")):
        from minigpt2.training.begin import begin

        config = config_for(base, source, tmp_path / form, **more)
        job = begin(config, (None, None), None, True, lambda line: None)
        assert (job.batches.rows is not None) == (form == "documents")
        assert (job.bigram_loss is None) == (form == "documents")
    end = list(train(config_for(base, path, tmp_path / "documents", **more)))[-1]
    assert end.best_loss < 0.2  # " dog" and the end, whatever the prompt
    from minigpt2.generation import Sampling, generate

    assert "=== step 60 ===\nfox " in (tmp_path / "documents/samples.txt").read_text()
    model, tokenizer = from_pretrained(tmp_path / "documents")
    assert "".join(generate(model, tokenizer, "fox c", Sampling(9, 0.0))) == " dog"


# --- activation checkpointing -------------------------------------------------------------------


@pytest.mark.parametrize("every", [1, 2])
def test_checkpointed_blocks_give_the_same_gradients(every):
    def gradients(checkpointed):
        torch.manual_seed(3)
        model = GPT2(GPT2Config(29, 13, 3, 3, 21, dropout=0.3))
        if checkpointed:
            checkpoint_blocks(model, every)
        build_optimizer(model, TrainingSection(max_steps=1))
        torch.manual_seed(5)
        tokens = torch.randint(29, (5, 11))
        loss = model(tokens, tokens.roll(-1, 1))
        loss.backward()
        return [loss, *(parameter.grad for parameter in model.parameters())]

    for plain, again in zip(gradients(False), gradients(True), strict=True):
        assert torch.equal(plain, again)
