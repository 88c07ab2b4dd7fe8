import pytest

from tf_einsum_grad import PathError, einsum_path, explain

CALL = ("aij,ajk,kl->lia", (64, 256, 128), (64, 128, 256), (256, 64))


def test_explain_shows_slices_passes_peaks_and_what_they_cost():
    found = explain(*CALL, memory_limit="4MB")
    memory = found.memory
    assert max(memory.forward_bytes, memory.backward_bytes) <= 4 * 10**6
    assert memory.n_slices == 64 // dict(memory.blocks)["a"] > 1
    assert memory.flops_forward == found.flops_forward
    assert memory.extra_flops == memory.flops_backward - found.flops_backward > 0
    text = found.to_text()
    assert "Memory: at most 4.0 MB beyond operands, result and gradients" in text
    assert f"{memory.n_slices}, one after the other: a in blocks of" in text
    assert found.to_dict()["memory"]["n_slices"] == memory.n_slices


def test_einsum_path_is_that_of_a_slice():
    path, report = einsum_path(*CALL, memory_limit="4MB")
    assert tuple(path[1:]) == explain(*CALL, memory_limit="4MB").memory.path
    assert "Slices: 16, one after the other" in report
    assert "Memory" not in einsum_path(*CALL)[1]


def test_recompute_is_one_slice():
    memory = explain(*CALL, recompute=True).memory
    assert (memory.n_slices, memory.blocks, memory.limit_bytes) == (1, (), None)
    assert explain(*CALL).memory is None


def test_what_cannot_be_met_is_refused():
    with pytest.raises(PathError, match=r"requires a memory_limit of \d+ bytes or more, got 1"):
        explain(*CALL, memory_limit=1)
    with pytest.raises(PathError, match="requires memory_limit to be bytes"):
        explain(*CALL, memory_limit="lots")
