"""The trainer's packed attention on a GPU, against torch's own over each sequence."""

import pytest
import torch

from rlagent.upstream import trinity_imports

trinity_imports.without_vllm.apply()

from rlagent.backends.verl.packed import packed_attention  # noqa: E402


@pytest.mark.parametrize("size", [32, 60, 64, 128])
@pytest.mark.parametrize("window", [None, 8])
def test_the_kernel_agrees_with_attention_over_each_sequence(size, window):
    torch.manual_seed(1)
    lengths = [7, 1, 33, 64]
    starts = torch.tensor([0, *lengths], device="cuda").cumsum(0).to(torch.int32)

    def made(heads):
        shape = (1, heads, sum(lengths), size)
        return torch.randn(shape, device="cuda", dtype=torch.bfloat16, requires_grad=True)

    parts = made(8), made(2), made(2)
    exact = [part.detach().float().requires_grad_() for part in parts]
    extra = {"cu_seq_lens_q": starts, "max_length_q": starts.diff().max(), "sliding_window": window}
    found, _ = packed_attention(None, *parts, None, **extra)
    # In float32 it goes through the sequences one by one.
    expected, _ = packed_attention(None, *exact, None, **extra)
    torch.testing.assert_close(found.float(), expected, atol=0.03, rtol=0.03)
    found.float().square().sum().backward()
    expected.square().sum().backward()
    for part, precise in zip(parts, exact, strict=True):
        torch.testing.assert_close(part.grad.float(), precise.grad, atol=0.2, rtol=0.1)
