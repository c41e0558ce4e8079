"""Changes to verl where flash-attn is not installed, and to what its FSDP engine computes.

What stands in its place is passed in, or as plain torch below.
"""

from collections.abc import Callable
from typing import Any

from rlagent.upstream.patch import Relies, patch

LIBRARY = "verl"
VERSIONS = ">=0.8.0,<0.9"
SOURCE = "https://github.com/verl-project/verl/blob/v0.8.0/verl"

_ENGINE = "verl.workers.engine.fsdp.transformer_impl"
_OUTPUTS = f"{_ENGINE}:FSDPEngineWithLMHead.prepare_model_outputs"
_OUTPUTS_TAKES = "self, output, output_args, micro_batch, logits_processor_func"


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/utils/attention_utils.py#L20",
    "verl packs sequences without flash-attn",
    [
        Relies("verl.utils.attention_utils:_get_attention_functions", ""),
        *(
            Relies(f"verl.utils.attention_utils:{name}", None, "_get_attention_functions()")
            for name in ("index_first_axis", "pad_input", "rearrange", "unpad_input")
        ),
    ],
)
def torch_padding() -> None:
    """Have verl in this process use torch where it would import flash_attn.bert_padding.

    Needed where flash-attn is not installed, by every process in which verl packs or unpacks
    batches.
    """
    from verl.utils import attention_utils

    functions = (_index_first_axis, _pad_input, _rearrange, _unpad_input)
    attention_utils._get_attention_functions = lambda: functions


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/utils/torch_functional.py#L72",
    "verl computes log-probabilities without flash-attn's kernel in float32, in pieces",
    [
        Relies(f"{_ENGINE}:logprobs_from_logits"),
        Relies(
            "verl.utils.torch_functional:logprobs_from_logits", "logits, labels, inplace_backward"
        ),
        Relies(_OUTPUTS, _OUTPUTS_TAKES, "logprobs_from_logits("),
    ],
)
def log_probabilities(compute: Callable[..., Any]) -> None:
    """Have verl's FSDP engine compute log-probabilities with this function.

    Without flash-attn verl loops over the tokens in Python, in the dtype of the logits: two thirds
    of the time of a training step, and probabilities rounded to 8 bits.

    Args:
        compute: Takes `logits`, `labels`, and further named arguments.
    """
    from verl.workers.engine.fsdp import transformer_impl

    transformer_impl.logprobs_from_logits = compute


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/utils/torch_functional.py#L224",
    "verl computes entropies in float32, in pieces, without a gradient where none is asked for",
    [
        Relies("verl.utils.torch_functional:entropy_from_logits", "logits"),
        Relies(_OUTPUTS, _OUTPUTS_TAKES, "verl_F.entropy_from_logits"),
    ],
)
def entropies(compute: Callable[..., Any]) -> None:
    """Have verl in this process compute entropies with this function of the logits."""
    from verl.utils import torch_functional

    torch_functional.entropy_from_logits = compute


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/workers/engine/fsdp/transformer_impl.py#L162",
    "verl's engine looks its entropy function up when it computes",
    [
        Relies(f"{_ENGINE}:FSDPEngine.compute_entropy_from_logits"),
        Relies(_OUTPUTS, _OUTPUTS_TAKES, "self.compute_entropy_from_logits"),
    ],
)
def entropies_of_engine(engine: Any, compute: Callable[..., Any]) -> None:
    """Have an engine that is made already compute entropies with this function of the logits.

    It bound verl's own function, compiled, when it was made.
    """
    engine.compute_entropy_from_logits = compute


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/workers/engine/fsdp/transformer_impl.py#L1067",
    "verl divides logits by the temperature without a view",
    [
        Relies(_OUTPUTS, _OUTPUTS_TAKES, "output.logits.squeeze(0)"),
        Relies("verl.utils.tensordict_utils:get_non_tensor_data", "data, key, default"),
    ],
)
def logits_without_views(packed: Callable[[Any], Any]) -> None:
    """Give verl's FSDP engine packed logits that it squeezes without making a view.

    It divides the result by the temperature, in place: of a view of them autograd makes two more
    copies on the way back.

    Args:
        packed: Makes of logits of shape (1, tokens, vocabulary) what has a `squeeze(0)`.
    """
    from verl.utils import tensordict_utils as tu
    from verl.workers.engine.fsdp import transformer_impl

    engine = transformer_impl.FSDPEngineWithLMHead
    theirs = engine.prepare_model_outputs
    if theirs.__module__ == __name__:
        return

    def prepare_model_outputs(
        self: Any, output: Any, output_args: Any, micro_batch: Any, *rest: Any, **named: Any
    ) -> Any:
        packs = tu.get_non_tensor_data(data=micro_batch, key="use_remove_padding", default=True)
        values = getattr(output, "logits", None)
        if packs and values is not None and values.requires_grad and values.shape[0] == 1:
            output.logits = packed(values)
        return theirs(self, output, output_args, micro_batch, *rest, **named)

    engine.prepare_model_outputs = prepare_model_outputs


def _index_first_axis(values: Any, indices: Any) -> Any:
    """The rows of `values` at `indices`."""
    return values[indices]


def _pad_input(values: Any, indices: Any, batch: int, length: int) -> Any:
    """Packed rows back in their places of a zero tensor of shape (batch, length, ...)."""
    padded = values.new_zeros(batch * length, *values.shape[1:])
    padded[indices] = values
    return padded.view(batch, length, *values.shape[1:])


def _unpad_input(values: Any, mask: Any) -> tuple[Any, Any, Any, int, Any]:
    """The rows that the mask keeps, packed.

    Args:
        values: Shape (batch, length, ...).
        mask: Shape (batch, length); not zero keeps.

    Returns:
        As flash-attn 2.8: packed values, their indices, where each sequence begins and the end
        (int32), the longest sequence, the lengths.
    """
    import torch

    lengths = mask.sum(dim=-1, dtype=torch.int32)
    indices = torch.nonzero(mask.flatten(), as_tuple=False).flatten()
    starts = torch.nn.functional.pad(torch.cumsum(lengths, dim=0, dtype=torch.int32), (1, 0))
    packed = values.flatten(0, 1)[indices]
    return packed, indices, starts, int(lengths.max()), lengths


def _rearrange(*arguments: Any, **sizes: Any) -> Any:
    from einops import rearrange

    return rearrange(*arguments, **sizes)
