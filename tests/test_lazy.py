"""What follows the import of another package: when, how often, and that its import is as ever."""

import importlib
import importlib.util
import subprocess
import sys
import textwrap
import threading

import pytest

from tf_einsum_grad._lazy import when_imported


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Writes a package and gives its name; nothing of it stays."""
    before = list(sys.meta_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    name = "package_that_is_watched"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("value = 1\n")
    (tmp_path / name / "inner.py").write_text(f"import {name}\nvalue = {name}.value + 1\n")
    yield name
    sys.meta_path[:] = before
    for module in [m for m in sys.modules if m.startswith(name)]:
        del sys.modules[module]


def test_now_if_it_is_imported(package):
    module = importlib.import_module(package)
    seen = []
    when_imported(package, seen.append)
    assert seen == [module]


def test_once_when_it_is_imported(package):
    seen = []
    when_imported(package, lambda module: seen.append((module, module.value)))
    when_imported(package, lambda module: seen.append("another"))
    inner = importlib.import_module(f"{package}.inner")
    module = sys.modules[package]
    assert sorted(map(str, seen)) == sorted(map(str, [(module, 1), "another"]))
    importlib.reload(module)
    assert len(seen) == 2 and inner.value == 2


def test_the_module_is_as_its_own_loader_makes_it(package):
    before = list(sys.meta_path)
    when_imported(package, lambda module: None)
    spec = importlib.util.find_spec(package)  # to look at it is not to import it
    assert spec.loader.is_package(package) and "value = 1" in spec.loader.get_source(package)
    assert package not in sys.modules
    module = importlib.import_module(package)
    plain = type(importlib.util.find_spec("json").loader)
    assert type(module.__loader__) is type(module.__spec__.loader) is plain
    assert sys.meta_path == before


def test_an_import_that_fails_is_waited_out(package, tmp_path):
    seen = []
    when_imported(package, seen.append)
    when_imported("package_that_is_not_there", seen.append)
    with pytest.raises(ModuleNotFoundError, match="package_that_is_not_there"):
        importlib.import_module("package_that_is_not_there")
    source = tmp_path / package / "__init__.py"
    source.write_text("1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        importlib.import_module(package)
    assert not seen
    source.write_text("value = 'mended'\n")
    assert [importlib.import_module(package)] == seen


def test_what_the_action_raises_the_import_raises(package):
    def action(module):
        raise KeyError(module.__name__)

    when_imported(package, action)
    with pytest.raises(KeyError, match=package):
        importlib.import_module(package)
    assert importlib.import_module(package).value == 1


def test_another_threads_import_is_waited_for(package, tmp_path):
    started = "import threading, time\nthreading.started.set()\ntime.sleep(0.3)\nvalue = 1\n"
    (tmp_path / package / "__init__.py").write_text(started)
    threading.started = threading.Event()
    seen = []
    thread = threading.Thread(target=importlib.import_module, args=(package,))
    thread.start()
    try:
        assert threading.started.wait(10)
        when_imported(package, lambda module: seen.append(module.value))
        assert seen == [1]
    finally:
        thread.join()
        del threading.started


def test_keras_on_another_backend_is_left_alone(tmp_path):
    """A Keras that only says that it runs on JAX: ours would raise at its import."""
    (tmp_path / "keras").mkdir()
    (tmp_path / "keras" / "__init__.py").write_text("from keras import backend\n")
    (tmp_path / "keras" / "backend.py").write_text("def backend():\n    return 'jax'\n")
    for order in ("keras, tf_einsum_grad", "tf_einsum_grad, keras"):
        program = f"""
            import sys
            sys.path.insert(0, {str(tmp_path)!r})
            import {order}
            assert keras.backend.backend() == "jax"
            print({{"tensorflow", "tf_einsum_grad.keras"}} & set(sys.modules))
        """
        command = [sys.executable, "-c", textwrap.dedent(program)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.stdout, done.returncode) == ("set()\n", 0), done.stderr
