"""LoRA: nothing changes at first, only corrections learn, merged equals unmerged, PEFT agrees."""

import json

import pytest
import torch

from minigpt2 import from_pretrained, save_pretrained
from minigpt2.config import TrainingSection
from minigpt2.errors import DataError, InputMissingError
from minigpt2.model import add_lora, lora_layers, lora_state, merge_lora
from minigpt2.model.lora import LoRALinear, without_lora
from minigpt2.model.resize import freeze, grow_vocabulary, resize_positions
from minigpt2.training.optimizers import build_optimizer, optimizer_tensors

TOKENS = torch.randint(29, (5, 11), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def adapted(tiny):
    """The tiny model with corrections that are not at zero any more."""
    torch.manual_seed(3)
    add_lora(tiny, rank=2, alpha=5.0)
    for value in lora_state(tiny).values():
        value.data.normal_(std=0.2)
    return tiny.eval()


def test_nothing_changes_at_first_and_only_corrections_learn(tiny):
    before = tiny(TOKENS)
    names = add_lora(tiny, rank=2, alpha=5.0, targets=("attn.c_attn", "h.0.mlp.c_proj"))
    assert names == ["h.0.attn.c_attn", "h.1.attn.c_attn", "h.0.mlp.c_proj"]
    assert torch.equal(tiny(TOKENS), before)
    state = {name: value.clone() for name, value in tiny.state_dict().items()}
    optimizer = build_optimizer(tiny, TrainingSection(max_steps=1))
    for _ in range(2):  # B is zero at first, so A learns from the second step on
        tiny(TOKENS, TOKENS.roll(-1, 1)).backward()
        optimizer.step()
    moved = {
        name for name, value in tiny.state_dict().items() if not torch.equal(value, state[name])
    }
    corrections = {f"{name}.lora_{half}.weight" for name in names for half in "AB"}
    assert moved == corrections
    stated = {key.partition("/")[2] for key in optimizer_tensors(optimizer, tiny)}
    assert stated == corrections


def test_a_layer_is_the_paper_s_formula():
    linear = torch.nn.Linear(7, 3)
    layer = LoRALinear(linear, rank=2, alpha=5.0, dropout=0.0)
    layer.lora_B.weight.data.normal_()
    x, A, B = torch.randn(11, 7), layer.lora_A.weight, layer.lora_B.weight
    torch.testing.assert_close(layer(x), linear(x) + 5.0 / 2 * x @ A.T @ B.T)


def test_merged_equals_unmerged(adapted):
    before = adapted(TOKENS)
    merge_lora(adapted)
    assert not lora_layers(adapted) and all(p.requires_grad for p in adapted.parameters())
    torch.testing.assert_close(adapted(TOKENS), before, atol=1e-5, rtol=0)


def test_the_model_beneath_is_lent_and_given_back(adapted, tiny):
    with_lora = adapted(TOKENS)
    with without_lora(adapted) as plain:
        assert not lora_layers(plain)
        assert not torch.allclose(plain(TOKENS), with_lora)
    assert torch.equal(adapted(TOKENS), with_lora)


def test_targets_and_patterns_that_name_nothing_are_told(tiny):
    with pytest.raises(ValueError, match=r"'q_proj'; there are c_attn, c_fc, c_proj"):
        add_lora(tiny, 2, 4.0, targets=("q_proj",))
    with pytest.raises(ValueError, match=r"'h\.7'"):
        freeze(tiny, ["h.7"])
    with pytest.raises(ValueError, match="nothing is left"):
        freeze(tiny, ["*"])


def test_frozen_parts_are_those_named(tiny):
    count = freeze(tiny, ["wte", "h.0", "h.*.mlp.c_fc.bias"])
    still = {name for name, parameter in tiny.named_parameters() if not parameter.requires_grad}
    assert "wte.weight" in still and "h.1.mlp.c_fc.bias" in still and "wpe.weight" not in still
    assert {name for name in dict(tiny.named_parameters()) if name.startswith("h.0.")} <= still
    assert count == sum(p.numel() for p in tiny.parameters() if not p.requires_grad)


def test_positions_are_cropped_or_interpolated(tiny):
    old = tiny.wpe.weight.detach().clone()
    logits = tiny(TOKENS[:, :7])
    resize_positions(tiny, 7)
    assert torch.equal(tiny.wpe.weight, old[:7]) and tiny.config.block_size == 7
    assert torch.equal(tiny(TOKENS[:, :7]), logits)
    resize_positions(tiny, 13)  # twice as dense: every second one is an old one
    torch.testing.assert_close(tiny.wpe.weight[::2], old[:7])
    torch.testing.assert_close(tiny.wpe.weight[1::2], (old[:6] + old[1:7]) / 2)
    assert tiny.wpe.weight.requires_grad


def test_a_grown_vocabulary_keeps_the_old_logits_and_the_tied_head(tiny):
    before = tiny(TOKENS)
    grow_vocabulary(tiny, 31)
    after = tiny(TOKENS)
    torch.testing.assert_close(after[..., :29], before)
    torch.testing.assert_close(after[..., 30], before.mean(-1), atol=1e-5, rtol=0)
    assert tiny.config.vocab_size == 31
    tiny(torch.full((1, 3), 30), torch.full((1, 3), 29)).backward()
    assert (tiny.wte.weight.grad[29:].abs().sum(1) > 0).all()


def test_an_adapter_opens_again_on_its_base(adapted, tokenizer, tmp_path):
    wanted = adapted(TOKENS)
    with without_lora(adapted) as plain:
        save_pretrained(plain, tokenizer, tmp_path / "base-model")
    save_pretrained(adapted, tokenizer, tmp_path / "a", base=str(tmp_path / "base-model"))
    assert not (tmp_path / "a/model.safetensors").exists()
    again, _ = from_pretrained(tmp_path / "a")
    torch.testing.assert_close(again(TOKENS), wanted, atol=1e-6, rtol=0)
    assert len(lora_layers(again)) == 8
    merged, _ = from_pretrained(tmp_path / "a", merge=True)
    torch.testing.assert_close(merged(TOKENS), wanted, atol=1e-5, rtol=0)
    assert not lora_layers(merged)


def test_peft_opens_ours(adapted, tokenizer, tmp_path):
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    with without_lora(adapted) as plain:
        save_pretrained(plain, tokenizer, tmp_path / "base-model")
    save_pretrained(adapted, tokenizer, tmp_path / "a", base=str(tmp_path / "base-model"))
    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base-model")
    theirs = peft.PeftModel.from_pretrained(base, tmp_path / "a").eval()
    torch.testing.assert_close(theirs(TOKENS).logits, adapted(TOKENS), atol=1e-5, rtol=0)
    by_itself = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "a").eval()
    torch.testing.assert_close(by_itself(TOKENS).logits, adapted(TOKENS), atol=1e-5, rtol=0)


@pytest.mark.parametrize("more", [{}, {"use_rslora": True}])
def test_we_open_peft_s(tiny, tokenizer, tmp_path, more):
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    save_pretrained(tiny, tokenizer, tmp_path / "base-model")
    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base-model")
    targets = ["c_attn", "mlp.c_proj"]
    config = peft.LoraConfig(r=3, lora_alpha=7, target_modules=targets, fan_in_fan_out=True,
                             task_type="CAUSAL_LM", **more)  # fmt: skip
    theirs = peft.get_peft_model(base, config).eval()
    torch.manual_seed(2)
    for name, parameter in theirs.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(std=0.2)
    theirs.save_pretrained(tmp_path / "a")
    ours, _ = from_pretrained(tmp_path / "a")
    torch.testing.assert_close(ours(TOKENS), theirs(TOKENS).logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [("use_dora", True, "use_dora True"), ("peft_type", "IA3", "peft_type 'IA3'"),
     ("modules_to_save", ["wte"], "modules_to_save"), ("r", 0, "rank 0"), ("r", "x", "no adapter"),
     ("r", 5, "misshaped h.0.attn.c_attn.lora_A.weight"), ("lora_alpha", None, "no adapter"),
     ("init_lora_weights", "pissa", "init_lora_weights 'pissa'"), ("lora_alpha", 1e300, "alpha"),
     ("target_modules", ["c_attn", "q_proj"], "no tensors for q_proj"),
     ("use_rslora", "no", "use_rslora"), ("use_qalora", True, "use_qalora")],
)  # fmt: skip
def test_other_adapters_are_refused_by_name(adapted, tokenizer, tmp_path, field, value, match):
    with without_lora(adapted) as plain:
        save_pretrained(plain, tokenizer, tmp_path / "base-model")
    save_pretrained(adapted, tokenizer, tmp_path / "a", base=str(tmp_path / "base-model"))
    (tmp_path / "a/manifest.json").unlink()
    path = tmp_path / "a/adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(DataError, match=match):
        from_pretrained(tmp_path / "a")


def test_an_adapter_without_its_base_names_it(adapted, tokenizer, tmp_path):
    save_pretrained(adapted, tokenizer, tmp_path / "a", base=str(tmp_path / "gone"))
    with pytest.raises(InputMissingError, match=r"base model of the adapter .*gone"):
        from_pretrained(tmp_path / "a")
    save_pretrained(adapted, tokenizer, tmp_path / "b")
    with pytest.raises(DataError, match="does not name its base"):
        from_pretrained(tmp_path / "b")
    save_pretrained(adapted, tokenizer, tmp_path / "c", base=str(tmp_path / "c"))
    with pytest.raises(DataError, match="adapter itself"):
        from_pretrained(tmp_path / "c")
