"""The embedded engine as a Ray actor behind Trinity's ModelWrapper and Synchronizer."""

import asyncio
import os

import pytest
import random_model
import ray
import torch
from safetensors.torch import save_file

from rlagent.backends.embedded.engine.engine import EmbeddedModel, service_options
from rlagent.upstream import trinity_imports

trinity_imports.without_vllm.apply()

from trinity.common.config import Config, InferenceModelConfig  # noqa: E402
from trinity.common.constants import SyncMethod  # noqa: E402
from trinity.common.models.model import ModelWrapper  # noqa: E402
from trinity.manager.synchronizer import Synchronizer  # noqa: E402

pytestmark = pytest.mark.alone

NAMESPACE = "engine-test"
MESSAGES = [{"role": "user", "content": "What is 2 + 3?"}]


@ray.remote
class SynchronizerOwner:
    """Stands where Trinity's Explorer stands: the Synchronizer lives as long as it does."""

    def __init__(self) -> None:
        config = Config(ray_namespace=NAMESPACE)
        config.synchronizer.sync_method = SyncMethod.MEMORY
        self.synchronizer = Synchronizer.get_actor(config)

    def is_alive(self) -> bool:
        return True

    async def publish(self, state: dict, version: int) -> None:
        await self.synchronizer.set_model_state_dict.remote(state, version)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = random_model.save(tmp_path_factory.mktemp("model"))
    return InferenceModelConfig(
        model_path=str(folder),
        engine_type="embedded",
        max_model_len=512,
        max_response_tokens=16,
        temperature=1.0,
        top_p=1.0,
        top_k=-1,
        enable_history=True,
        enable_openai_api=True,
        ray_namespace=NAMESPACE,
        checkpoint_job_dir=str(tmp_path_factory.mktemp("checkpoints")),
        extra_engine_args={"threads": 1},
    )


@pytest.fixture(scope="module")
def engine(config):
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray.init(num_cpus=4, namespace=NAMESPACE, include_dashboard=False, logging_level="ERROR")
    engine = ray.remote(EmbeddedModel).options(namespace=NAMESPACE).remote(config=config)
    ray.get(engine.prepare.remote())
    yield engine
    ray.get(engine.shutdown.remote())
    ray.shutdown()


@pytest.fixture
def model(engine, config):
    wrapper = ModelWrapper(
        models=[engine], config=config, api_address=ray.get(engine.get_api_server_url.remote())
    )
    asyncio.run(wrapper.prepare())
    return wrapper.clone_with_isolated_history()


def test_a_recorded_call_becomes_an_experience_with_exact_logprobs(model):
    client = model.get_openai_client()
    client.chat.completions.create(model=model.model_name, messages=MESSAGES, n=2)
    experiences = model.extract_experience_from_history()
    assert len(experiences) == 2
    for experience in experiences:
        assert len(experience.tokens) == experience.prompt_length + len(experience.logprobs)
        scored = model.logprobs(experience.tokens.tolist(), temperature=1.0)
        recorded = scored[experience.prompt_length - 1 :]
        assert torch.allclose(recorded, experience.logprobs, atol=1e-4)


def test_generate_and_chat_give_experiences_of_their_own(model):
    spoken = model.chat(MESSAGES, n=2, temperature=0.5, max_tokens=6)
    assert [len(e.logprobs) <= 6 for e in spoken] == [True, True]
    written = model.generate(["one two", "three"], max_tokens=4)
    assert len(written) == 2
    assert written[0].prompt_text == "one two"
    scored = model.logprobs(spoken[0].tokens.tolist(), temperature=0.5)
    recorded = scored[spoken[0].prompt_length - 1 :]
    assert torch.allclose(recorded, spoken[0].logprobs, atol=1e-4)


def test_weights_come_through_the_synchronizer_and_through_checkpoints(model, engine, config):
    tokens = list(range(40))
    assert ray.get(engine.get_model_version.remote()) == 0
    start = model.logprobs(tokens)

    owner = SynchronizerOwner.options(namespace=NAMESPACE).remote()
    state = random_model.model(seed=1).state_dict()
    ray.get(owner.publish.remote(state, 3))
    asyncio.run(model.sync_model_weights(3, SyncMethod.MEMORY))
    assert ray.get(engine.get_model_version.remote()) == 3
    third = model.logprobs(tokens)
    assert not torch.allclose(start, third, atol=1e-2)

    folder = os.path.join(config.checkpoint_job_dir, "global_step_4", "actor")
    os.makedirs(folder)
    state = {k: v.clone() for k, v in random_model.model(seed=0).state_dict().items()}
    state.pop("lm_head.weight")
    save_file(state, os.path.join(folder, "model.safetensors"))
    asyncio.run(model.sync_model_weights(4, SyncMethod.CHECKPOINT))
    assert ray.get(engine.get_model_version.remote()) == 4
    assert torch.allclose(model.logprobs(tokens), start, atol=1e-5)


def test_weights_over_nccl_are_refused(engine):
    with pytest.raises(ValueError, match="memory or checkpoint"):
        ray.get(engine.sync_model_weights.remote(5, SyncMethod.NCCL))


def test_an_unknown_engine_argument_is_refused(config):
    with pytest.raises(ValueError, match="gpu_blocks"):
        service_options(InferenceModelConfig(model_path="x", extra_engine_args={"gpu_blocks": 1}))
