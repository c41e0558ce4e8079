"""The embedded generator: exact log-probabilities, whatever shares a batch or a cache."""

import random

import pytest
import random_model
import torch

from rlagent.backends.embedded.engine.compact import CompactForward
from rlagent.backends.embedded.engine.fallback import PlainForward, choose_forward
from rlagent.backends.embedded.engine.forward import CachedForward
from rlagent.backends.embedded.engine.generate import Generator, Limits, Request
from rlagent.backends.embedded.engine.protocol import SamplingParams
from rlagent.records import warnings

TEXTS = random.Random(5)


def some_tokens(count: int) -> list[int]:
    return [TEXTS.randrange(500) for _ in range(count)]


@pytest.fixture(scope="module")
def reference():
    return random_model.model()


@pytest.fixture(scope="module")
def tokenizer():
    return random_model.tokenizer()


@pytest.fixture(params=[CompactForward, CachedForward])
def generator(request, tokenizer):
    torch.set_num_threads(1)
    limits = Limits(1024, max_rows=32, prefill_tokens=256)
    forward = request.param(random_model.model(), 1024)
    return Generator(forward, [tokenizer.eos_token_id], tokenizer.decode, limits)


def run(generator: Generator, requests: list[Request], stagger: int = 0) -> list[Request]:
    """Draw all; with `stagger`, only that many requests arrive before each step."""
    waiting = list(requests)
    while waiting or generator.busy:
        for request in waiting[: stagger or None]:
            generator.submit(request)
        del waiting[: stagger or len(waiting)]
        generator.step()
    return requests


def error(reference, request: Request, temperature: float = 1.0) -> float:
    """Largest difference from the log-probabilities of one full forward pass."""
    ids = torch.tensor([request.prompt + request.tokens])
    with torch.no_grad():
        expected = (reference(ids).logits[0].float() / temperature).log_softmax(-1)
    size = len(request.prompt)
    expected = expected[size - 1 : -1].gather(1, ids[0, size:, None])[:, 0]
    assert len(request.tokens) == len(request.logprobs)
    return (expected - torch.tensor(request.logprobs)).abs().max().item()


@pytest.mark.parametrize("stagger", [0, 1, 3])
def test_logprobs_equal_a_full_forward_pass_in_a_ragged_batch(generator, reference, stagger):
    requests = [
        Request(some_tokens(size), SamplingParams(max_tokens=1 + size % 29))
        for size in (1, 2, 3, 17, 60, 61, 200, 255, 256, 257, 600)
    ]
    run(generator, requests, stagger)
    assert max(error(reference, r) for r in requests) < 1e-4


def test_logprobs_are_those_of_the_temperature(generator, reference):
    requests = [
        Request(some_tokens(20), SamplingParams(max_tokens=20, temperature=t)) for t in (0.5, 1.7)
    ]
    run(generator, requests)
    assert error(reference, requests[0], 0.5) < 1e-4
    assert error(reference, requests[1], 1.7) < 1e-4


@pytest.mark.parametrize("stagger", [0, 2])
def test_a_prompt_beginning_that_many_share_is_read_once(generator, reference, stagger):
    system = some_tokens(150)
    requests = []
    for _ in range(5):
        question = some_tokens(30)
        requests += [Request(system + question, SamplingParams(max_tokens=12)) for _ in range(6)]
    run(generator, requests, stagger)
    assert max(error(reference, r) for r in requests) < 1e-4
    # Twice the system prompt: once with the first question, once by itself when another came.
    assert generator.prefilled < 2 * 180 + 5 * 32 + 30


def test_a_conversation_that_goes_on_is_not_read_again(generator, reference):
    opening = [Request(some_tokens(80), SamplingParams(max_tokens=15)) for _ in range(8)]
    run(generator, opening)
    before = generator.prefilled
    replies = [
        Request(r.prompt + r.tokens + some_tokens(9), SamplingParams(max_tokens=11))
        for r in opening
    ]
    run(generator, replies, stagger=3)
    assert generator.prefilled - before <= 8 * (9 + 1)
    assert max(error(reference, r) for r in replies) < 1e-4


def test_lanes_that_must_shorten_their_trunk_stay_exact(generator, reference):
    common = some_tokens(200)
    near = common + some_tokens(60)
    requests = [Request(near + some_tokens(10), SamplingParams(max_tokens=8)) for _ in range(3)]
    run(generator, requests)
    far = [Request(common + some_tokens(50), SamplingParams(max_tokens=8)) for _ in range(3)]
    run(generator, far)
    other = [Request(some_tokens(90), SamplingParams(max_tokens=8)) for _ in range(3)]
    run(generator, [*other, *[Request(r.prompt, r.params) for r in far]])
    assert max(error(reference, r) for r in [*requests, *far, *other]) < 1e-4


def test_greedy_decoding_equals_that_of_transformers(generator, reference):
    prompt = some_tokens(40)
    greedy = SamplingParams(max_tokens=30, temperature=0.0)
    request = run(generator, [Request(prompt, greedy), Request(some_tokens(9), greedy)])[0]
    with torch.no_grad():
        ids = torch.tensor([prompt])
        # Without the mask, generate takes the padding token within a prompt for padding.
        expected = reference.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=30,
            do_sample=False,
            pad_token_id=0,
        )
    assert request.tokens == expected[0, len(prompt) :].tolist()
    assert error(reference, request) < 1e-4


def test_only_the_likeliest_tokens_are_drawn_under_top_k_and_top_p(generator, reference):
    prompt = some_tokens(30)
    with torch.no_grad():
        probabilities = reference(torch.tensor([prompt])).logits[0, -1].softmax(-1)
    ordered, order = probabilities.sort(descending=True)
    inside = int((ordered.cumsum(0) - ordered < 0.5).sum())

    narrow = [Request(prompt, SamplingParams(max_tokens=1, top_k=3)) for _ in range(60)]
    nucleus = [Request(prompt, SamplingParams(max_tokens=1, top_p=0.5)) for _ in range(60)]
    run(generator, narrow + nucleus)
    assert {r.tokens[0] for r in narrow} <= set(order[:3].tolist())
    assert {r.tokens[0] for r in nucleus} <= set(order[:inside].tolist())
    kept = ordered[:3].sum()
    for request in narrow:
        expected = (probabilities[request.tokens[0]] / kept).log().item()
        assert request.logprobs[0] == pytest.approx(expected, abs=1e-4)


def test_tokens_are_drawn_as_often_as_their_probability_says(generator, reference):
    prompt = some_tokens(25)
    with torch.no_grad():
        probabilities = reference(torch.tensor([prompt])).logits[0, -1].softmax(-1)
    drawn = run(generator, [Request(prompt, SamplingParams(max_tokens=1)) for _ in range(3000)])
    counts = torch.bincount(torch.tensor([r.tokens[0] for r in drawn]), minlength=608)
    likely = probabilities > 0.01
    spread = (probabilities * (1 - probabilities) / 3000).sqrt()
    assert ((counts / 3000 - probabilities).abs()[likely] < 5 * spread[likely]).all()


def test_a_seed_draws_the_same_again_in_any_company(generator):
    params = SamplingParams(max_tokens=20, seed=11)
    prompt = some_tokens(30)
    alone = run(generator, [Request(prompt, params)])[0]
    crowd = [Request(some_tokens(50), SamplingParams(max_tokens=20)) for _ in range(5)]
    again = run(generator, [*crowd, Request(prompt, params)])[-1]
    assert again.tokens == alone.tokens


def test_the_end_token_ends_a_response_and_is_part_of_it(tokenizer, reference):
    model = random_model.model()
    prompt = some_tokens(12)
    with torch.no_grad():
        end = int(reference(torch.tensor([prompt])).logits[0, -1].argmax())
    generator = Generator(CachedForward(model, 64), [end], tokenizer.decode, Limits(64))
    greedy = {"max_tokens": 9, "temperature": 0.0}
    stopped, on, late = run(
        generator,
        [
            Request(prompt, SamplingParams(**greedy)),
            Request(prompt, SamplingParams(**greedy, ignore_eos=True)),
            Request(prompt, SamplingParams(**greedy, min_tokens=3)),
        ],
    )
    assert (stopped.tokens, stopped.finish_reason) == ([end], "stop")
    assert (len(on.tokens), on.finish_reason) == (9, "length")
    assert end not in late.tokens[:3]


def test_a_stop_text_ends_a_response_and_is_cut_off(generator, tokenizer):
    prompt = some_tokens(30)
    free = run(generator, [Request(prompt, SamplingParams(max_tokens=20, seed=3))])[0]
    text = tokenizer.decode(free.tokens)
    stop = tokenizer.decode(free.tokens[6:8])
    params = SamplingParams(max_tokens=20, seed=3, stop=(stop,))
    cut = run(generator, [Request(prompt, params)])[0]
    assert cut.finish_reason == "stop"
    assert tokenizer.decode(cut.tokens)[: cut.text_end] == text[: text.find(stop)]
    assert len(cut.tokens) <= 8


def test_a_response_ends_where_the_model_s_length_ends(tokenizer):
    forward = CachedForward(random_model.model(), 40)
    generator = Generator(forward, [0], tokenizer.decode, Limits(40))
    params = SamplingParams(max_tokens=100, ignore_eos=True)
    request = run(generator, [Request(some_tokens(30), params)])[0]
    assert (len(request.tokens), request.finish_reason) == (10, "length")


def test_a_cancelled_request_gives_its_row_back(generator):
    request = Request(some_tokens(10), SamplingParams(max_tokens=1000, ignore_eos=True))
    waiting = Request(some_tokens(10), SamplingParams(max_tokens=5))
    waiting.cancelled = True
    generator.submit(request)
    generator.step()
    generator.submit(waiting)
    request.cancelled = True
    generator.step()
    assert not generator.busy
    assert (request.finish_reason, waiting.finish_reason) == ("abort", "abort")


def test_few_rows_and_little_memory_only_make_requests_wait(tokenizer, reference):
    limits = Limits(256, max_rows=3, prefill_tokens=32, active_bytes=1 << 20, store_bytes=1 << 20)
    forward = CachedForward(random_model.model(), 256)
    generator = Generator(forward, [tokenizer.eos_token_id], tokenizer.decode, limits)
    requests = [Request(some_tokens(90), SamplingParams(max_tokens=20)) for _ in range(12)]
    run(generator, requests)
    assert max(error(reference, r) for r in requests) < 1e-4


def test_likeliest_alternatives_come_with_their_logprobs(generator):
    request = run(
        generator, [Request(some_tokens(8), SamplingParams(max_tokens=3, top_logprobs=4))]
    )[0]
    for alternatives in request.alternatives:
        values = [value for _, value in alternatives]
        assert len(values) == 4
        assert values == sorted(values, reverse=True)


def test_new_weights_wait_for_the_rows_and_change_what_is_drawn(generator, reference):
    prompt = some_tokens(50)
    greedy = SamplingParams(max_tokens=20, temperature=0.0)
    generator.submit(Request(prompt, greedy))
    generator.step()
    with pytest.raises(RuntimeError, match="while requests"):
        generator.clear()
    run(generator, [])
    generator._forward.model.load_state_dict(random_model.model(seed=1).state_dict())
    generator.clear()
    after = run(generator, [Request(prompt, greedy)])[0]
    assert error(random_model.model(seed=1), after) < 1e-4
    assert error(reference, after) > 1e-2


ARCHITECTURES = {
    "llama": {},
    "qwen2": {},
    "mistral": {"sliding_window": None},
    "gpt_neox": {},
    "gpt2": {"n_layer": 2, "n_head": 4, "n_embd": 64},
    "opt": {"ffn_dim": 96, "word_embed_proj_dim": 64},
    "bloom": {"n_layer": 2, "n_head": 4},
    "mamba": {},
    "gemma2": {"head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 16},
}


def small(kind: str, **changes):
    """A model of another architecture, randomly initialised."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind,
        vocab_size=512,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
        pad_token_id=0,
        **changes,
    )
    if hasattr(config, "num_key_value_heads"):
        config.num_key_value_heads = 2
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    return model


@pytest.mark.parametrize("kind", sorted(ARCHITECTURES))
def test_any_causal_model_draws_with_exact_logprobs(tokenizer, kind):
    model, reference = (small(kind, **ARCHITECTURES[kind]) for _ in range(2))
    forward = choose_forward(model, 256)
    generator = Generator(forward, [1], tokenizer.decode, Limits(256))
    system = some_tokens(70)
    requests = [
        Request(system + some_tokens(size), SamplingParams(max_tokens=6)) for size in (1, 5, 9)
    ]
    run(generator, requests, stagger=1)
    assert max(error(reference, r) for r in requests) < 1e-3
    expected = {
        "llama": CompactForward,
        "qwen2": CompactForward,
        "mistral": CompactForward,
        "gpt_neox": CachedForward,
        "mamba": PlainForward,
    }
    assert isinstance(forward, expected.get(kind, object))


def test_a_model_with_attention_of_its_own_goes_without_a_cache_and_its_run_says_so(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("TRINITY_LOG_DIR", str(tmp_path / "logs"))
    forward = choose_forward(small("gemma2", **ARCHITECTURES["gemma2"]), 256)
    assert isinstance(forward, PlainForward)
    (line,) = warnings.file_of(tmp_path / "logs").read_text().splitlines()
    assert "Gemma2ForCausalLM decodes without a KV cache" in line
