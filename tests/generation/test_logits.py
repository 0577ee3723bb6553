"""Every sampler equals transformers' on random logits; OpenAI's penalties equal their formula."""

import math

import pytest
import torch

from minigpt2.errors import UsageError
from minigpt2.generation import Sampling
from minigpt2.generation.logits import adjust_logits, choose, filter_logits

PROMPT, OUTPUT = [3, 1, 4, 1], [5, 9, 2, 6, 5, 5]


@pytest.fixture
def logits():
    return torch.randn(5, 29, generator=torch.Generator().manual_seed(2)) * 3


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers")


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
@pytest.mark.parametrize(
    ("top_k", "top_p", "min_p"),
    [(None, None, None), (5, None, None), (None, 0.6, None), (7, 0.8, None), (None, None, 0.1),
     (11, 0.9, 0.05), (29, 1.0, 0.0), (100, None, None), (1, 0.01, 1.0)],
)  # fmt: skip
def test_filters_equal_transformers(transformers, logits, temperature, top_k, top_p, min_p):
    wanted = transformers.TemperatureLogitsWarper(temperature)(None, logits)
    if top_k:
        wanted = transformers.TopKLogitsWarper(top_k)(None, wanted)
    if top_p:
        wanted = transformers.TopPLogitsWarper(top_p)(None, wanted)
    if min_p:
        wanted = transformers.MinPLogitsWarper(min_p)(None, wanted)
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    torch.testing.assert_close(filter_logits(logits, sampling), wanted)


@pytest.mark.parametrize("mass", [1e-6, 0.2, 0.7, 0.99, 1.0])
@pytest.mark.parametrize("top_k", [None, 5])
def test_typical_sampling_equals_transformers(transformers, logits, mass, top_k):
    wanted = transformers.TopKLogitsWarper(top_k)(None, logits) if top_k else logits
    if mass < 1:
        wanted = transformers.TypicalLogitsWarper(mass)(None, wanted)
    sampling = Sampling(temperature=1, top_k=top_k, typical_p=mass)
    torch.testing.assert_close(filter_logits(logits, sampling), wanted)


def adjusted(logits, sampling, stop_ids=(), output=OUTPUT):
    rows = [adjust_logits(row, sampling, PROMPT, output, stop_ids) for row in logits]
    return torch.stack(rows)


@pytest.mark.parametrize("penalty", [0.5, 1.3, 4.0])
def test_the_repetition_penalty_equals_transformers(transformers, logits, penalty):
    context = torch.tensor([PROMPT + OUTPUT] * 5)
    wanted = transformers.RepetitionPenaltyLogitsProcessor(penalty)(context, logits)
    torch.testing.assert_close(adjusted(logits, Sampling(repetition_penalty=penalty)), wanted)


def test_bias_bans_and_least_length_equal_transformers(transformers, logits):
    context = torch.tensor([PROMPT + OUTPUT] * 5)
    bias = transformers.SequenceBiasLogitsProcessor({(7,): 2.5, (8,): -3.0})
    wanted = bias(context, logits)
    ban = transformers.SuppressTokensLogitsProcessor([11, 13], device="cpu")
    least = transformers.MinNewTokensLengthLogitsProcessor(len(PROMPT), 7, [17], device="cpu")
    wanted = ban(context, least(context, wanted))
    sampling = Sampling(logit_bias=((7, 2.5), (8, -3.0)), banned_ids=(11, 13), min_new_tokens=7)
    torch.testing.assert_close(adjusted(logits, sampling, stop_ids=(17,)), wanted)
    assert not torch.isinf(adjusted(logits, sampling, (17,), [1] * 7)[:, 17]).any()


def test_a_bias_given_twice_counts_twice(logits):
    got = adjusted(logits, Sampling(logit_bias=((7, 2.5), (7, 1.0))))
    torch.testing.assert_close(got[:, 7], logits[:, 7] + 3.5)


def test_presence_and_frequency_penalties_are_openais(logits):
    """mu[j] - c[j] * frequency - (c[j] > 0) * presence, c counted in what was generated."""
    wanted = logits.clone()
    for token_id in range(29):
        count = OUTPUT.count(token_id)
        wanted[:, token_id] -= count * 0.7 + (count > 0) * 1.5
    got = adjusted(logits, Sampling(presence_penalty=1.5, frequency_penalty=0.7))
    torch.testing.assert_close(got, wanted)


def test_all_together_in_transformers_own_order(transformers, logits):
    """The order is read from what `generate` builds, not from ours."""
    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=29, n_positions=13, n_embd=8, n_layer=1, n_head=1)
    )
    config = transformers.GenerationConfig(
        do_sample=True, temperature=0.7, top_k=9, top_p=0.9, min_p=0.02, repetition_penalty=1.4,
        sequence_bias=[[[7], 2.5]], suppress_tokens=[11], min_new_tokens=7, eos_token_id=17,
        max_new_tokens=9, pad_token_id=0,
    )  # fmt: skip
    config._eos_token_tensor = torch.tensor([17])
    processors = model._get_logits_processor(
        generation_config=config, input_ids_seq_length=len(PROMPT), device="cpu"
    )
    wanted = processors(torch.tensor([PROMPT + OUTPUT] * 5), logits)
    sampling = Sampling(
        temperature=0.7, top_k=9, top_p=0.9, min_p=0.02, repetition_penalty=1.4,
        logit_bias=((7, 2.5),), banned_ids=(11,), min_new_tokens=7,
    )  # fmt: skip
    got = filter_logits(adjusted(logits, sampling, (17,)), sampling)
    # transformers ends with a log-softmax in some versions: probabilities are what is drawn from.
    torch.testing.assert_close(got.softmax(1), wanted.softmax(1))


def test_nothing_of_probability_zero_is_drawn_and_the_rest_as_often_as_it_should():
    """Chi-square of 20,000 draws; 5 tokens are left, 4 degrees of freedom, p = 0.001."""
    logits = torch.randn(1, 29, generator=torch.Generator().manual_seed(5))
    sampling = Sampling(temperature=1.3, top_k=5)
    generator = torch.Generator().manual_seed(0)
    rows = logits.expand(20_000, -1)
    ids = choose(rows, [sampling] * len(rows), [generator] * len(rows))
    counts = torch.bincount(torch.tensor(ids), minlength=29)
    wanted = filter_logits(logits, sampling).softmax(1)[0]
    assert counts[wanted == 0].sum() == 0
    expected = len(rows) * wanted[wanted > 0]
    assert ((counts[wanted > 0] - expected) ** 2 / expected).sum() < 18.5


def test_rows_of_unlike_settings_draw_as_alone(logits):
    settings = [Sampling(temperature=0), Sampling(top_k=3), Sampling(top_p=0.5),
                Sampling(temperature=0), Sampling(top_k=3)]  # fmt: skip
    together = choose(logits, settings, [torch.Generator().manual_seed(i) for i in range(5)])
    for row in range(5):
        alone = [torch.Generator().manual_seed(row)]
        assert choose(logits[row : row + 1], [settings[row]], alone) == [together[row]]


@pytest.mark.parametrize("temperature", [0.0, 1e-300])
def test_no_temperature_is_the_likeliest(logits, temperature):
    settings = [Sampling(temperature=temperature)] * 5
    generators = [torch.Generator() for _ in range(5)]
    assert choose(logits, settings, generators) == logits.argmax(1).tolist()


@pytest.mark.parametrize("name", ["temperature", "top_p", "min_p", "repetition_penalty",
                                  "presence_penalty", "frequency_penalty"])  # fmt: skip
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused(name, value):
    with pytest.raises(UsageError, match=name.replace("_", "-")):
        Sampling(**{name: value})


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": -1}, {"top_k": 0}, {"top_p": 0}, {"top_p": 1.1}, {"min_p": -0.1},
     {"min_p": 2}, {"max_new_tokens": -1}, {"seed": -1}, {"seed": 1 << 63}, {"stop": ("",)},
     {"repetition_penalty": 0}, {"logit_bias": ((1, math.nan),)}, {"n_keep": -1},
     {"max_new_tokens": 3, "min_new_tokens": 4}, {"logprobs": -1}, {"temperature": 1e300},
     {"logit_bias": ((1, 1e300),)}, {"repetition_penalty": 1e-320}, {"seed": 1.5}, {"seed": None},
     {"top_k": 2.5}, {"stop": (1,)}, {"banned_ids": ("x",)}, {"logit_bias": (("a", 1),)},
     {"logit_bias": ((1,),)}, {"overflow": "nonsense"}, {"temperature": "hot"}],
)  # fmt: skip
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(UsageError):
        Sampling(**wrong)


@pytest.mark.parametrize("drawn", [0.0, 1 - 2.0**-53])
def test_the_ends_of_a_draw_fall_on_tokens_that_may_be_chosen(monkeypatch, drawn):
    monkeypatch.setattr(torch, "rand", lambda *_, **__: torch.tensor([drawn], dtype=torch.float64))
    logits = torch.tensor([[-math.inf, -1e9, 1.0, 1.0, -1e9, -math.inf]])
    assert choose(logits, [Sampling()], [torch.Generator()]) == [2 if drawn == 0 else 3]
