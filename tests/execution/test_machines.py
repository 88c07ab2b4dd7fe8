"""Which machine a call is decided for: a fact that is looked up, and part of the key."""

import subprocess
import sys
import threading

import pytest
import tensorflow as tf

from tf_einsum_grad.execution import machines, private
from tf_einsum_grad.execution.machines import machine_of
from tf_einsum_grad.lowering.machines import CPU, CPU_ONEDNN, GPU, machine_here, using
from tf_einsum_grad.ops import einsum

X = tf.zeros([64, 64])


def ops(function):
    """The kernels of an einsum that a CPU computes as the transpose of a product, a GPU at once."""
    graph = tf.function(function).get_concrete_function(*[tf.TensorSpec([1024, 1024])] * 2).graph
    kinds = [op.type for op in graph.get_operations()]
    return [kind for kind in kinds if kind in ("Transpose", "MatMul", "Einsum")]


def two_transposes(x, y):
    return einsum("ki,jk->ij", x, y)


@pytest.mark.parametrize(("on", "machine"), [(True, CPU_ONEDNN), (False, CPU)])
def test_tensorflow_says_whether_onednn_is_on(monkeypatch, on, machine):
    monkeypatch.setattr(private, "onednn_is_on", lambda: on)
    machines._cpu.cache_clear()
    try:
        assert machine_of([X], "eager") is machine_of([], "graph") is machine_here() is machine
    finally:
        machines._cpu.cache_clear()


@pytest.mark.parametrize("setting", ["0", "1"])
def test_what_tensorflow_says_is_what_was_set(setting):
    program = "from tf_einsum_grad.execution.private import onednn_is_on; print(onednn_is_on())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"TF_ENABLE_ONEDNN_OPTS": setting, "PATH": "", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(setting == "1")


def test_without_the_api_onednn_counts_as_off(monkeypatch):
    monkeypatch.setattr(private, "_pywrap_util_port", None)
    assert not private.onednn_is_on()


def test_a_device_scope_says_where_a_graph_runs():
    def on_gpu(x, y):
        with tf.device("/device:GPU:0"):
            return two_transposes(x, y)

    def on_cpu_after_all(x, y):
        with tf.device("GPU:0"), tf.device("CPU:0"):
            return two_transposes(x, y)

    with using(GPU):
        at_once = ops(two_transposes)
    assert at_once == ["MatMul"] == ops(on_gpu)
    assert ops(on_cpu_after_all) == ops(two_transposes) != at_once


def test_a_scope_of_none_sets_the_others_aside():
    with tf.Graph().as_default(), tf.device("/gpu:1"):
        assert "GPU" in private.device_scope()
        with tf.device(None):
            assert private.device_scope() == ""
    assert private.device_scope() == ""


def test_without_the_scopes_the_visible_devices_count(monkeypatch):
    with tf.Graph().as_default(), tf.device("/gpu:0"):
        assert machine_of([], "graph") is GPU
        monkeypatch.setattr(private.tf.compat.v1, "get_default_graph", lambda: object())
        assert private.device_scope() == ""
        assert machine_of([], "graph") is not GPU
        monkeypatch.undo()


def test_a_visible_gpu_is_where_a_graph_runs(monkeypatch):
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["GPU:0"])
    with tf.Graph().as_default():
        assert machine_of([], "graph") is machine_of([], "xla") is GPU
        with tf.device("CPU:0"):
            assert machine_of([], "graph") is not GPU


def test_eager_operands_say_where_they_are(monkeypatch):
    class OnGpu:
        device = "/job:localhost/replica:0/task:0/device:GPU:0"

    monkeypatch.setattr(machines, "_has_gpu", lambda: True)
    assert machine_of([X, OnGpu()], "eager") is GPU
    assert machine_of([X, X], "eager") is not GPU


def test_the_machine_is_part_of_the_key():
    with using(CPU):
        on_cpu = ops(two_transposes)
    with using(GPU):
        assert ops(two_transposes) != on_cpu
    with using(CPU):
        assert ops(two_transposes) == on_cpu


def test_a_machine_is_chosen_for_a_thread():
    seen = []
    with using(GPU):
        thread = threading.Thread(target=lambda: seen.append(machine_here()))
        thread.start()
        thread.join()
        assert machine_here() is GPU
    assert seen == [machine_here()] != [GPU]
