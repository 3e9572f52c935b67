"""Fusion: neighbouring ONNX files become one graph, proved equal and measured faster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from conduit_lab.core.errors import ConduitError, OptimizeError
from conduit_lab.core.spec import Array, TensorSpec
from conduit_lab.core.views import figures
from conduit_lab.runtime.checks.graph import check, first_line
from conduit_lab.runtime.measuring.timing import Turns, in_turn
from conduit_lab.runtime.rewriting import derived_files
from conduit_lab.runtime.rows.layout import Layout
from conduit_lab.runtime.sessions.session import Options, Session

KIND = "fusion"
FASTER = 0.97  # the share of the old time that counts as faster; above it is noise
EQUAL = 1e-5  # relative: a fused kernel may sum in another order
MAX_BYTES = 2**28  # of all parts: large ones gain nothing and would lie on the disk twice


@dataclass(frozen=True)
class Fusion:
    """What became of neighbouring models: `path` of the fused file, or None and the reason.

    `times` are those of a call, one after the other and fused, where it was measured.
    """

    names: tuple[str, ...]
    path: Path | None
    reason: str
    times: Turns | None = None

    def __repr__(self) -> str:
        what = " + ".join(self.names)
        return f"{what}: {'fused' if self.path else 'not fused'}, {self.reason}"


def place(paths: Sequence[Path]) -> Path:
    """Return where the fusion of files lies: `a+b.onnx` beside `a.onnx`, with a digest where that is another's."""
    sources = derived_files.digests(paths)
    plain = paths[0].with_name("+".join(path.stem for path in paths) + ".onnx")
    if not plain.exists() or _is_of(plain, sources):
        return plain
    return plain.with_stem(f"{plain.stem}-{sha256(''.join(sources).encode()).hexdigest()[:8]}")


def _is_of(path: Path, sources: Sequence[str]) -> bool:
    made = derived_files.origin(path)
    return made is not None and (made["kind"], made["sources"]) == (KIND, list(sources))


def fuse(
    paths: Sequence[Path],
    names: Sequence[str],
    samples: Sequence[Mapping[str, Array]],
    options: Options,
) -> Fusion:
    """Make one file of several beside the first, where it answers the same and takes less time.

    `samples` are input arrays of the first file by name; the first is measured. The fused file of
    an earlier call is used again while its parts are the same; equality and speed are seen to each
    time.
    """
    target: Path | None = None
    try:
        target = place(paths)
        if _is_of(target, derived_files.digests(paths)):
            kept, reason, times = _judge(target, paths, names, samples, options)
        else:
            with derived_files.draft(target) as path:
                merge(paths, path)
                kept, reason, times = _judge(path, paths, names, samples, options)
                if not kept:
                    path.unlink()
    except ConduitError as error:
        kept, reason, times = False, str(error), None
    return Fusion(tuple(names), target if kept else None, reason, times)


def _judge(
    path: Path,
    paths: Sequence[Path],
    names: Sequence[str],
    samples: Sequence[Mapping[str, Array]],
    options: Options,
) -> tuple[bool, str, Turns | None]:
    """Return whether the fused file is equal and faster, in words too, and the times where they were measured."""
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
        rows = layout.rows(feeds)
        *between, last = in_parts(feeds)
        for name, outputs in zip(names, between, strict=False):
            if outputs[0].shape[:1] != (
                rows,
            ):  # of one sample its next would get the first row only
                return False, f"{name} does not give one row a sample", None
        if not all(_same(*pair) for pair in zip(last, whole.run(feeds), strict=True)):
            return False, "as one graph they answer otherwise", None
    times = in_turn(lambda: in_parts(first), lambda: whole.run(first))
    speed = f"{figures.seconds(times.before)} before, {figures.seconds(times.after)} as one graph"
    return (True, speed, times) if times.ratio <= FASTER else (False, f"not faster: {speed}", times)


def _same(one: Any, other: Any) -> bool:
    if not isinstance(one, np.ndarray) or one.dtype.kind != "f":
        return bool(np.array_equal(one, other))
    near = EQUAL * float(np.abs(one[np.isfinite(one)]).max(initial=0.0))
    return one.shape == other.shape and np.allclose(other, one, rtol=0.0, atol=near, equal_nan=True)


def misfit(outputs: Sequence[TensorSpec], inputs: Sequence[TensorSpec]) -> str:
    """Return why a graph with `inputs` cannot take what one with `outputs` gives, or nothing."""
    if len(outputs) != 1 or len(inputs) != 1:
        return f"{len(outputs)} outputs meet {len(inputs)} inputs: wanted one and one"
    given, taken = outputs[0], inputs[0]
    free = len(given.shape) == len(taken.shape) and all(
        isinstance(want, str) or want == got
        for got, want in zip(given.shape, taken.shape, strict=True)
    )
    # a free axis does not go into a fixed one: the graph alone would not say which sample is wrong
    return "" if free and given.dtype == taken.dtype else f"{given} is given and {taken} is wanted"


def merge(paths: Sequence[Path], target: Path) -> None:
    """Write the graph that runs `paths` one after the other: the first's inputs, the last's outputs
    and metadata.

    Raises `OptimizeError` for neighbours that do not fit each other, for opsets that cannot be
    brought together, and for parts of more than 256 MB.
    """
    size = sum(check(path).size for path in paths)
    if size > MAX_BYTES:
        raise OptimizeError(
            f"{figures.size(size)} together: above {figures.size(MAX_BYTES)} nothing would be gained"
        )
    models = [derived_files.load(path) for path in paths]
    metadata = derived_files.metadata(models[-1])
    try:
        whole = _chained(_aligned(models))
    except OptimizeError:
        raise
    except Exception as error:  # onnx's own, protobuf's, ValueError
        raise OptimizeError(f"they cannot be one graph: {first_line(error)}") from error
    derived_files.write(whole, target, paths, KIND, metadata)


def _aligned(models: Sequence[Any]) -> list[Any]:
    """Return the models with one IR version and one version of each operator set, the newest of theirs."""
    import onnx

    versions: dict[str, set[int]] = {}
    for model in models:
        for entry in model.opset_import:
            versions.setdefault("" if entry.domain == "ai.onnx" else entry.domain, set()).add(
                entry.version
            )
    strange = [domain for domain, found in versions.items() if domain and len(found) > 1]
    if strange:
        raise OptimizeError(f"they use different versions of the operators {', '.join(strange)}")
    if len(versions[""]) > 1:
        models = [
            onnx.version_converter.convert_version(model, max(versions[""])) for model in models
        ]
    ir = max(model.ir_version for model in models)
    for model in models:
        model.ir_version = ir
        del model.metadata_props[:]
    return list(models)


def _chained(models: Sequence[Any]) -> Any:
    """Return one graph; names inside of a part get its number as a prefix, those of the outside stay."""
    from onnx import compose

    last = len(models) - 1
    if {value.name for value in models[0].graph.input} & {
        value.name for value in models[-1].graph.output
    }:
        raise OptimizeError("an input of the first and an output of the last have the same name")
    whole: Any = None
    for i, model in enumerate(models):
        part = compose.add_prefix(model, f"{i}/", rename_inputs=i > 0, rename_outputs=i < last)
        if whole is None:
            whole = part
            continue
        constants = {
            tensor.name for tensor in part.graph.initializer
        }  # in old files they are inputs too
        given, taken = (
            list(whole.graph.output),
            [v for v in part.graph.input if v.name not in constants],
        )
        wrong = misfit([_spec(value) for value in given], [_spec(value) for value in taken])
        if wrong:
            raise OptimizeError(wrong)
        _rename_axes(part.graph.output, given[0], taken[0], f"{i}/")
        whole = compose.merge_models(whole, part, io_map=[(given[0].name, taken[0].name)])
    # free axes in them are known by their names, which mean different ones in two parts;
    # onnxruntime infers its own
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
    """Call the free axes of a part's outputs as the part before calls them, those that it does not
    know with a prefix.

    onnxruntime takes two axes of one name for equally long, and shares memory between them.
    """
    pairs = zip(given.type.tensor_type.shape.dim, taken.type.tensor_type.shape.dim, strict=True)
    known = {want.dim_param: got for got, want in pairs if want.dim_param}
    for output in outputs:
        for axis in output.type.tensor_type.shape.dim:
            if axis.dim_param in known:
                axis.CopyFrom(known[axis.dim_param])
            elif axis.dim_param:
                axis.dim_param = prefix + axis.dim_param
