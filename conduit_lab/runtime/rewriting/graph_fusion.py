"""Fusion: merge neighbouring ONNX files into one graph that gives equal answers faster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from conduit_lab.core.equality import same_answer
from conduit_lab.core.errors import ConduitError, OptimizeError
from conduit_lab.core.spec import Array, TensorSpec
from conduit_lab.core.views import figures
from conduit_lab.runtime.checks.graph import check_graph
from conduit_lab.runtime.measuring.timing import Turns, in_turn
from conduit_lab.runtime.rewriting import derived_files
from conduit_lab.runtime.rows.layout import Layout
from conduit_lab.runtime.sessions.session import Options, Session

KIND = "fusion"
MAX_TIME_RATIO = 0.97  # of new to old: a smaller gain is noise
MAX_RELATIVE_ERROR = 1e-5  # of the largest output: a fused kernel may sum in another order
_MAX_PARTS_BYTES = 2**28  # in total: large models gain nothing and would take twice the disk space


@dataclass(frozen=True)
class FusionReport:
    """The outcome for neighbouring models: the `path` of the fused file, or None and the reason.

    `times` are those of a call before and after fusion, if measured.
    """

    names: tuple[str, ...]
    path: Path | None
    reason: str
    times: Turns | None = None

    def __repr__(self) -> str:
        models = " + ".join(self.names)
        return f"{models}: {'fused' if self.path else 'not fused'}, {self.reason}"


def fused_path(paths: Sequence[Path]) -> Path:
    """Return the path of a fused file: `a+b.onnx` beside `a.onnx`, with a digest if that exists."""
    sources = derived_files.digests(paths)
    plain = paths[0].with_name("+".join(path.stem for path in paths) + ".onnx")
    if not plain.exists() or _is_fused_from(sources, plain):
        return plain
    return plain.with_stem(f"{plain.stem}-{sha256(''.join(sources).encode()).hexdigest()[:8]}")


def _is_fused_from(sources: Sequence[str], path: Path) -> bool:
    made = derived_files.origin(path)
    return made is not None and (made["kind"], made["sources"]) == (KIND, list(sources))


def fuse(
    paths: Sequence[Path],
    names: Sequence[str],
    samples: Sequence[Mapping[str, Array]],
    options: Options,
) -> FusionReport:
    """Fuse files into one beside the first if it gives equal answers faster.

    `samples` are input arrays of the first file by name; the first sample is timed. The fused file
    of an earlier call is reused if its parts are unchanged; equality and speed are checked each
    time.
    """
    target: Path | None = None
    try:
        target = fused_path(paths)
        if _is_fused_from(derived_files.digests(paths), target):
            kept, reason, times = _judge(target, paths, names, samples, options)
        else:
            with derived_files.draft(target) as path:
                merge_graphs(paths, path)
                kept, reason, times = _judge(path, paths, names, samples, options)
                if not kept:
                    path.unlink()
    except ConduitError as error:
        kept, reason, times = False, str(error), None
    return FusionReport(tuple(names), target if kept else None, reason, times)


def _judge(
    path: Path,
    paths: Sequence[Path],
    names: Sequence[str],
    samples: Sequence[Mapping[str, Array]],
    options: Options,
) -> tuple[bool, str, Turns | None]:
    """Return whether the fused file is equal and faster, the reason, and the times if measured."""
    parts = [Session(part, options) for part in paths]
    whole = Session(path, options)
    first, layout = samples[0], Layout.of(whole)
    if layout.size == 0:
        samples = [*samples, layout.repeat(first, 2 * layout.rows(first))]

    def in_parts(feeds: Mapping[str, Array]) -> list[list[Array]]:
        outputs = [parts[0].run(feeds)]
        for part in parts[1:]:
            outputs.append(part.run({part.inputs[0].name: outputs[-1][0]}))
        return outputs

    for feeds in samples:
        rows = (layout.rows(feeds),)
        *between, last = in_parts(feeds)
        for name, outputs in zip(names, between, strict=False):
            if outputs[0].shape[:1] != rows:  # the next model would get only its first row
                return False, f"{name} does not give one row per sample", None
        if not same_answer(last, whole.run(feeds), 0.0, MAX_RELATIVE_ERROR):
            return False, "the fused graph gives different answers", None
    times = in_turn(lambda: in_parts(first), lambda: whole.run(first))
    speed = f"{figures.seconds(times.before)} before, {figures.seconds(times.after)} as one graph"
    faster = times.ratio <= MAX_TIME_RATIO
    return faster, speed if faster else f"not faster: {speed}", times


def misfit(outputs: Sequence[TensorSpec], inputs: Sequence[TensorSpec]) -> str:
    """Return why a graph with `inputs` cannot follow one with `outputs`, or ""."""
    if len(outputs) != 1 or len(inputs) != 1:
        return f"expected one output and one input, got {len(outputs)} and {len(inputs)}"
    given, taken = outputs[0], inputs[0]
    # a free axis does not fit a fixed one: an error of the fused graph could not name the sample
    fits = len(given.shape) == len(taken.shape) and all(
        isinstance(expected, str) or expected == got
        for got, expected in zip(given.shape, taken.shape, strict=True)
    )
    return "" if fits and given.dtype == taken.dtype else f"expected {taken}, got {given}"


def merge_graphs(paths: Sequence[Path], target: Path) -> None:
    """Write the graph that runs `paths` in sequence, with the inputs of the first.

    Outputs and metadata are those of the last. Raises `OptimizeError` for neighbours that do not
    fit each other, for incompatible operator sets, and for parts of more than 256 MB.
    """
    size = sum(check_graph(path).size for path in paths)
    if size > _MAX_PARTS_BYTES:
        raise OptimizeError(
            f"expected at most {figures.size(_MAX_PARTS_BYTES)} together, "
            f"got {figures.size(size)}: larger models gain nothing"
        )
    models = [derived_files.load_protobuf(path) for path in paths]
    metadata = derived_files.metadata(models[-1])
    with derived_files.as_optimize_error("they cannot be one graph"):
        whole = _chained(_aligned(models))
    derived_files.write_derived(whole, target, paths, KIND, metadata)


def _aligned(models: Sequence[Any]) -> list[Any]:
    """Return the models with the newest of their IR versions and operator sets."""
    import onnx

    versions: dict[str, set[int]] = {}
    for model in models:
        for entry in model.opset_import:
            versions.setdefault("" if entry.domain == "ai.onnx" else entry.domain, set()).add(
                entry.version
            )
    mixed = [domain for domain, found in versions.items() if domain and len(found) > 1]
    if mixed:
        raise OptimizeError(f"they use different versions of the operators {', '.join(mixed)}")
    if len(versions[""]) > 1:
        newest = max(versions[""])
        models = [onnx.version_converter.convert_version(model, newest) for model in models]
    ir = max(model.ir_version for model in models)
    for model in models:
        model.ir_version = ir
        del model.metadata_props[:]
    return list(models)


def _chained(models: Sequence[Any]) -> Any:
    """Return one graph; internal names of each part get the part's number as a prefix."""
    from onnx import compose

    last = len(models) - 1
    inputs = {value.name for value in models[0].graph.input}
    if inputs & {value.name for value in models[-1].graph.output}:
        raise OptimizeError("an input of the first and an output of the last have the same name")
    whole: Any = None
    for i, model in enumerate(models):
        part = compose.add_prefix(model, f"{i}/", rename_inputs=i > 0, rename_outputs=i < last)
        if whole is None:
            whole = part
            continue
        constants = {tensor.name for tensor in part.graph.initializer}  # inputs too in old files
        given = list(whole.graph.output)
        taken = [value for value in part.graph.input if value.name not in constants]
        wrong = misfit([_spec(value) for value in given], [_spec(value) for value in taken])
        if wrong:
            raise OptimizeError(wrong)
        _rename_axes(part.graph.output, given[0], taken[0], f"{i}/")
        whole = compose.merge_models(whole, part, io_map=[(given[0].name, taken[0].name)])
    # one axis name can stand for different lengths in two parts; onnxruntime infers shapes itself
    del whole.graph.value_info[:]
    opsets = {(entry.domain, entry.version): entry for entry in whole.opset_import}
    del whole.opset_import[:]
    whole.opset_import.extend(opsets.values())
    return whole


def _spec(value: Any) -> TensorSpec:
    """Return the spec of a graph's input or output."""
    from onnx import helper

    kind = value.type.tensor_type
    shape = tuple(
        a.dim_value if a.HasField("dim_value") else a.dim_param or "?" for a in kind.shape.dim
    )
    return TensorSpec(value.name, str(helper.tensor_dtype_to_np_dtype(kind.elem_type)), shape)


def _rename_axes(outputs: Any, given: Any, taken: Any, prefix: str) -> None:
    """Rename the free axes of a part's outputs as in the previous part, others with a prefix.

    onnxruntime assumes that axes of one name are equally long, and shares memory between them.
    """
    pairs = zip(given.type.tensor_type.shape.dim, taken.type.tensor_type.shape.dim, strict=True)
    known = {new.dim_param: old for old, new in pairs if new.dim_param}
    for output in outputs:
        for axis in output.type.tensor_type.shape.dim:
            if axis.dim_param in known:
                axis.CopyFrom(known[axis.dim_param])
            elif axis.dim_param:
                axis.dim_param = prefix + axis.dim_param
