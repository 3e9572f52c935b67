"""Session: good files run, bad ones are refused by name, and the process survives."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conduit_lab.core import paths
from conduit_lab.core.errors import DeviceError, ModelInputError, ModelLoadError, ModelRunError
from conduit_lab.core.spec import TensorSpec
from conduit_lab.runtime.sessions import session as sessions
from conduit_lab.runtime.sessions.memory import memory_bytes
from conduit_lab.runtime.sessions.session import Options, Session, dtype_of, native
from tests.runtime import graphs

WEIGHT = np.arange(6, dtype=np.float32).reshape(3, 2)
few = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def linear(tmp_path: Path) -> Path:
    return graphs.linear(tmp_path / "linear.onnx", WEIGHT, {"made by": "a test"})


def test_runs_the_graph(linear: Path) -> None:
    session = Session(linear)
    x = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    (output,) = session.run({"input": x})
    np.testing.assert_array_equal(output, x @ WEIGHT)
    assert output.dtype == np.float32


def test_has_specs_metadata_and_device(linear: Path) -> None:
    session = Session(linear, Options("cpu"))
    assert session.inputs == (TensorSpec("input", "float32", ("batch", 3)),)
    assert session.outputs == (TensorSpec("output", "float32", ("batch", 2)),)
    assert session.metadata == {"made by": "a test"}
    assert session.device == "cpu"


def test_options_reach_onnxruntime(linear: Path) -> None:
    session = Session(linear, Options(threads=3, graph_level="basic"))
    options = session._session.get_session_options()
    assert options.intra_op_num_threads == 3
    assert options.graph_optimization_level.name == "ORT_ENABLE_BASIC"


def test_unnamed_free_axis_is_a_question_mark(tmp_path: Path) -> None:
    path = graphs.identity(tmp_path / "free.onnx", "float32", ("", 3))
    assert Session(path).inputs[0].shape == ("?", 3)


def test_zero_rows_give_zero_rows(linear: Path) -> None:
    assert Session(linear).run({"input": np.zeros((0, 3), np.float32)})[0].shape == (0, 2)


def test_runs_from_many_threads(linear: Path) -> None:
    session = Session(linear)
    inputs = [np.full((2, 3), n, np.float32) for n in range(100)]
    with ThreadPoolExecutor(8) as pool:
        outputs = list(pool.map(lambda x: session.run({"input": x})[0], inputs))
    for x, output in zip(inputs, outputs, strict=True):
        np.testing.assert_array_equal(output, x @ WEIGHT)


# Refused files


def refusal(path: Path) -> str:
    """Return the message of the refusal, which names the file by its relative path."""
    with paths.use_root(path.parent), pytest.raises(ModelLoadError) as caught:
        Session(path)
    assert path.name in str(caught.value)
    return str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    assert "no model file at gone.onnx" in refusal(tmp_path / "gone.onnx")


def test_folder_instead_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()
    refusal(tmp_path / "folder.onnx")


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").touch()
    assert "is empty" in refusal(tmp_path / "empty.onnx")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_truncated_file(linear: Path, share: float) -> None:
    content = linear.read_bytes()
    linear.write_bytes(content[: int(len(content) * share)])
    refusal(linear)


@few
@given(content=st.binary(min_size=1, max_size=300))
def test_random_bytes(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "random.onnx"
    path.write_bytes(content)
    refusal(path)


@few
@given(data=st.data())
def test_flipped_byte_is_refused_or_loads_but_never_kills(
    tmp_path: Path, data: st.DataObject
) -> None:
    path = graphs.linear(tmp_path / "flipped.onnx", WEIGHT)
    content = bytearray(path.read_bytes())
    where = data.draw(st.integers(0, len(content) - 1))
    content[where] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    try:
        Session(path)
    except ModelLoadError as error:
        assert "flipped.onnx" in str(error)


def test_axis_name_that_is_not_valid_utf8(tmp_path: Path) -> None:
    path = graphs.linear(tmp_path / "names.onnx", WEIGHT, batch="qqq")
    path.write_bytes(path.read_bytes().replace(b"qqq", b"q\xe2q"))
    refusal(path)


def test_unknown_operator(tmp_path: Path) -> None:
    path = graphs.save(
        tmp_path / "custom.onnx",
        [graphs.node("Own", ["x"], ["y"], domain="my.own")],
        [graphs.value("x", ["n"])],
        [graphs.value("y", ["n"])],
        domains=["my.own"],
    )
    refusal(path)


def test_an_operator_is_known_once_its_library_is_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnxruntime_extensions import get_library_path

    monkeypatch.setattr(sessions, "_custom_ops", [])
    path = graphs.save(
        tmp_path / "upper.onnx",
        [graphs.node("StringUpper", ["x"], ["y"], domain="ai.onnx.contrib")],
        [graphs.value("x", ["n"], "str")],
        [graphs.value("y", ["n"], "str")],
        domains=["ai.onnx.contrib"],
    )
    refusal(path)
    for _ in range(2):  # a library is registered once
        sessions.register_custom_ops(get_library_path())
    assert sessions._custom_ops == [str(Path(get_library_path()).resolve())]
    assert Session(path).run({"x": np.array(["kettle"], object)})[0].tolist() == ["KETTLE"]


def test_a_file_that_is_not_a_library_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="no operator library at"):
        sessions.register_custom_ops(tmp_path / "gone.so")
    (tmp_path / "text.so").write_text("no code")
    with pytest.raises(ModelLoadError, match=r"text\.so is not an operator library"):
        sessions.register_custom_ops(tmp_path / "text.so")


def test_initializer_whose_dimensions_overflow(tmp_path: Path) -> None:
    path = graphs.linear(tmp_path / "overflow.onnx", WEIGHT)
    model = graphs.load(path)
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend([2**62, 2**62])
    path.write_bytes(model.SerializeToString())
    refusal(path)


# External data


def weights_at(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(WEIGHT.tobytes())
    return path


def test_external_data_beside_the_model_is_read(tmp_path: Path) -> None:
    weights_at(tmp_path / "model" / "weights.bin")
    path = graphs.with_external_data(tmp_path / "model" / "beside.onnx", "weights.bin")
    x = np.ones((1, 3), np.float32)
    np.testing.assert_array_equal(Session(path).run({"input": x})[0], x @ WEIGHT)


def test_external_data_above_the_folder_is_refused(tmp_path: Path) -> None:
    weights_at(tmp_path / "secret.bin")
    (tmp_path / "model").mkdir()
    refusal(graphs.with_external_data(tmp_path / "model" / "above.onnx", "../secret.bin"))


def test_external_data_at_an_absolute_path_is_refused(tmp_path: Path) -> None:
    secret = weights_at(tmp_path / "secret.bin")
    (tmp_path / "model").mkdir()
    refusal(graphs.with_external_data(tmp_path / "model" / "absolute.onnx", str(secret)))


def test_external_data_through_a_symlink_is_refused(tmp_path: Path) -> None:
    secret = weights_at(tmp_path / "secret.bin")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.bin").symlink_to(secret)
    refusal(graphs.with_external_data(tmp_path / "model" / "symlink.onnx", "weights.bin"))


def test_external_data_through_a_symlinked_folder_is_refused(tmp_path: Path) -> None:
    weights_at(tmp_path / "elsewhere" / "secret.bin")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "inner").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    refusal(graphs.with_external_data(tmp_path / "model" / "parent.onnx", "inner/secret.bin"))


def test_external_data_through_a_hard_link_is_refused(tmp_path: Path) -> None:
    secret = weights_at(tmp_path / "secret.bin")
    (tmp_path / "model").mkdir()
    os.link(secret, tmp_path / "model" / "weights.bin")
    refusal(graphs.with_external_data(tmp_path / "model" / "hard.onnx", "weights.bin"))


def test_external_data_that_is_missing_or_short_is_refused(tmp_path: Path) -> None:
    path = graphs.with_external_data(tmp_path / "missing.onnx", "weights.bin")
    refusal(path)
    (tmp_path / "weights.bin").write_bytes(b"\0" * 8)
    refusal(path)


# Unsuitable inputs


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((1, 4), np.float32),
        np.zeros((3,), np.float32),
        np.zeros((1, 1, 1, 3), np.float32),
        np.zeros((1, 3), np.float64),
        np.zeros((1, 3), np.int32),
    ],
    ids=lambda x: f"{x.dtype}{x.shape}",
)
def test_wrong_rank_dimension_or_dtype_is_an_input_error(linear: Path, x: np.ndarray) -> None:
    session = Session(linear)
    with pytest.raises(ModelInputError):
        session.run({"input": x})
    output = session.run({"input": np.ones((1, 3), np.float32)})[0]
    assert output.shape == (1, 2)  # the session stays usable


def test_index_out_of_range_is_an_input_error(tmp_path: Path) -> None:
    path = graphs.save(
        tmp_path / "gather.onnx",
        [graphs.node("Gather", ["table", "ids"], ["rows"])],
        [graphs.value("ids", ["n"], "int64")],
        [graphs.value("rows", ["n", 2])],
        [graphs.constant("table", WEIGHT)],
    )
    with pytest.raises(ModelInputError, match="graph refused its input"):
        Session(path).run({"ids": np.array([3])})


def test_lone_surrogate_for_a_string_input_is_an_input_error(tmp_path: Path) -> None:
    session = Session(graphs.identity(tmp_path / "text.onnx", "str", ["n"]))
    with pytest.raises(ModelInputError):
        session.run({"input": np.array(["\ud800"], object)})
    assert session.run({"input": np.array(["fine"], object)})[0].tolist() == ["fine"]


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is enforced on Linux")
def test_an_allocation_of_200_gigabytes_fails_and_the_process_survives(tmp_path: Path) -> None:
    path = graphs.save(
        tmp_path / "greedy.onnx",
        [graphs.node("ConstantOfShape", ["shape"], ["y"])],
        [graphs.value("shape", [1], "int64")],
        [graphs.value("y", ["n"])],
    )
    code = f"""
        import resource
        import numpy as np
        from pathlib import Path
        from conduit_lab.core.errors import ModelRunError
        from conduit_lab.runtime.sessions.session import Options, Session
        session = Session(Path({str(path)!r}), Options("cpu"))
        resource.setrlimit(resource.RLIMIT_AS, (16 * 2**30, 16 * 2**30))
        try:
            session.run({{"shape": np.array([50_000_000_000])}})
        except ModelRunError as error:
            print("beyond its memory limit" in str(error))
        print(session.run({{"shape": np.array([2])}})[0].tolist())
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert (done.returncode, done.stdout) == (0, "True\n[0.0, 0.0]\n"), done.stderr


def test_an_allocation_above_the_arena_limit_fails(tmp_path: Path) -> None:
    path = graphs.save(
        tmp_path / "greedy.onnx",
        [graphs.node("ConstantOfShape", ["shape"], ["y"])],
        [graphs.value("shape", [1], "int64")],
        [graphs.value("y", ["n"])],
    )
    session = Session(path)
    floats = int(memory_bytes() * 0.9 / 4)
    with pytest.raises(
        ModelRunError, match=r"greedy\.onnx failed on cpu: it requested .* GB beyond"
    ):
        session.run({"shape": np.array([floats])})
    assert session.run({"shape": np.array([2])})[0].tolist() == [0, 0]


# Devices and dtypes


def test_unknown_device_is_refused(linear: Path) -> None:
    with pytest.raises(DeviceError, match="device 'abacus' is unknown"):
        Session(linear, Options("abacus"))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "uint64", "complex64"])
def test_native_converts_the_byte_order_and_keeps_the_values(dtype: str) -> None:
    array = np.arange(5).astype(dtype)
    foreign = array.astype(array.dtype.newbyteorder("S"))
    assert native(foreign).dtype.isnative
    np.testing.assert_array_equal(native(foreign), array)
    assert native(array) is array


@pytest.mark.parametrize(
    "dtype", ["float16", "float64", "int8", "int64", "uint8", "uint32", "bool"]
)
def test_dtypes_keep_their_names(tmp_path: Path, dtype: str) -> None:
    session = Session(graphs.identity(tmp_path / "identity.onnx", dtype))
    assert session.inputs[0].dtype == dtype
    assert dtype_of(session.inputs[0]) == np.dtype(dtype)
    x = np.ones((2, 3), dtype)
    np.testing.assert_array_equal(session.run({"input": x})[0], x)


def test_type_that_numpy_lacks_is_an_input_error() -> None:
    with pytest.raises(ModelInputError, match="bfloat16"):
        dtype_of(TensorSpec("x", "tensor(bfloat16)", ("n",)))


def test_a_small_model_runs_on_one_thread_unless_it_repeats_its_weights(
    linear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def threads(path: Path, options: Options | None = None) -> int:
        opened = Session(path, options)._session.get_session_options()
        return int(opened.intra_op_num_threads)

    key = "session.intra_op.allow_spinning"
    assert Session(linear)._session.get_session_options().get_session_config_entry(key) == "0"
    assert threads(linear) == 1
    assert threads(linear, Options(threads=2)) == 2
    assert threads(graphs.endless(tmp_path / "loop.onnx")) == 0
    monkeypatch.setattr(sessions, "SMALL_MODEL_BYTES", 10)
    assert threads(linear) == 0
    monkeypatch.setattr(sessions, "default_threads", 3)
    assert threads(linear) == 3
    assert threads(linear, Options(threads=2)) == 2
