"""`load_model`: one call for every kind of model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, TypeVar, Unpack, overload
from weakref import WeakSet

from conduit_lab.core.errors import ModelLoadError, UnknownOption
from conduit_lab.core.nearest import did_you_mean, nearest_file
from conduit_lab.core.paths import current_root, display, resolve
from conduit_lab.core.trace import recorder
from conduit_lab.models.file_model import FileModel

if TYPE_CHECKING:
    from conduit_lab.models.callable import CallableModel
    from conduit_lab.models.kinds import AnyFolder
    from conduit_lab.models.model import Model

AnyModel: TypeAlias = "Model | AnyFolder | CallableModel"
M = TypeVar("M", bound="AnyModel")
_FILES = (".onnx", ".npz")

# The models with `remote=True` that no app has: those that a module of a project loads
loose_remote_models: WeakSet[FileModel[Any]] = WeakSet()


class LoadOptions(TypedDict, total=False):
    """The options of `load_model`; `rows`, `queue` and `context` are those of a `Generator`."""

    device: str
    fallback: bool | None
    labels: Sequence[str] | None
    name: str | None
    timeout: float | None
    variant: str | None
    rows: int | None
    queue: int | None
    context: int | None
    remote: bool


@overload
def load_model(
    source: Callable[[Any], Any],
    *,
    root: Path | None = None,
    lazy: bool = False,
    **options: Unpack[LoadOptions],
) -> CallableModel: ...
@overload
def load_model(
    source: str | Path,
    kind: type[M],
    *,
    root: Path | None = None,
    lazy: bool = False,
    **options: Unpack[LoadOptions],
) -> M: ...
@overload
def load_model(
    source: str | Path,
    *,
    root: Path | None = None,
    lazy: bool = False,
    **options: Unpack[LoadOptions],
) -> Any: ...
def load_model(
    source: str | Path | Callable[[Any], Any],
    kind: type[Any] | None = None,
    *,
    device: str = "auto",
    fallback: bool | None = None,
    labels: Sequence[str] | None = None,
    name: str | None = None,
    timeout: float | None = None,
    variant: str | None = None,
    rows: int | None = None,
    queue: int | None = None,
    context: int | None = None,
    remote: bool = False,
    root: Path | None = None,
    lazy: bool = False,
    **unknown: Any,
) -> Any:
    """Load a model: a `.onnx` or `.npz` file, a folder, or a Python function of one argument.

    A file returns a `Model`, a function a `CallableModel`. A sentence-transformers folder returns
    an `Embedder`, a decoder folder (Hugging Face or genai layout) a `Generator`, a cross-encoder a
    `Reranker`, a sequence classifier a `TextClassifier`, and a token classifier a
    `TokenClassifier`. The return type depends on the content of the path, so type checkers infer
    Any; `load_model(path, Embedder)` returns an `Embedder` or raises `ModelLoadError`.

    A relative path is resolved against `root` (default: the running app's root, else the
    project's). `device` is "auto" or a name of `devices()`; `fallback` allows the CPU to replace it
    (default: for "auto" only). `labels` are class names in output order. `timeout` limits a run, in
    seconds. `variant` selects a graph of a folder, such as "int8". `lazy` only declares the model:
    its file is opened on first use. A `Generator` also takes `rows`, the maximum number of
    sequences decoded together, `queue`, the maximum number of waiting ones, and `context`, its
    maximum number of tokens. With `remote` an export on Ray Serve runs the model in a deployment
    with its own replicas; anywhere else it runs in the process. Python functions and `Generator`s
    have no such option. Raises `ModelLoadError` naming the file, `DeviceError` for an unavailable
    device, and `UnknownOption` for any other option.
    """
    for option in unknown:
        near = did_you_mean(option, (*LoadOptions.__annotations__, "kind", "root", "lazy"))
        raise UnknownOption(f"load_model has no option {option!r}{near}")
    if callable(source):
        from conduit_lab.models.callable import CallableModel  # each kind is imported on use

        if remote:
            raise UnknownOption(
                "load_model of a function has no option remote: it has no file that a deployment "
                "could open. Load an .onnx or .npz file, or leave remote=True out"
            )
        model: AnyModel = CallableModel(source, labels=labels, name=name)
        _check_kind(model, kind, str(source))
        return model
    where = resolve(source, root)
    with recorder.span(name or where.stem, "load", value=str(source)) as span:
        options: dict[str, Any] = {
            "device": device,
            "fallback": fallback,
            "name": name,
            "timeout": timeout,
        }
        given = {"rows": rows, "queue": queue, "context": context}
        options |= {option: value for option, value in given.items() if value is not None}
        model = _declared(where, root, labels, variant, options)
        _check_kind(model, kind, display(where))
        if remote:
            _run_apart(model)
        if span is not None:
            span.target = model
            if isinstance(model, FileModel):
                span.annotate(model_file=model)
        if not lazy and not where.exists():
            raise _missing(where, root or current_root())
        return model if lazy else model.open()


def _run_apart(model: FileModel[Any]) -> None:
    """Declare that a model runs in a separate deployment on Ray Serve."""
    from conduit_lab.models.generation.generator import Generator

    if isinstance(model, Generator):
        raise UnknownOption(
            f"{model.name} is a Generator, which has no option remote: the KV cache of its streams "
            "stays in their process. Leave remote=True out; each replica of the app has the model"
        )
    model.remote = True
    loose_remote_models.add(model)


def _missing(where: Path, root: Path) -> ModelLoadError:
    """Return the error for a path without a model; it names the nearest model path."""

    def shown(path: Path) -> str:
        inside = path.is_relative_to(root)
        return path.relative_to(root).as_posix() if inside else str(path)

    near = nearest_file(where, root, lambda path: path.suffix in _FILES or path.is_dir())
    if near is None:
        return ModelLoadError(
            f"no model at {shown(where)}: check the path and the root it starts from, {root}"
        )
    return ModelLoadError(f"no model at {shown(where)}. Did you mean {shown(near)!r}?")


def _declared(
    where: Path,
    root: Path | None,
    labels: Sequence[str] | None,
    variant: str | None,
    options: dict[str, Any],
) -> Model | AnyFolder:
    """Return the model of a file or folder without opening it."""
    if where.is_dir():
        from conduit_lab.models.kinds import kind_of_folder
        from conduit_lab.models.text.classifier import Classifier

        kind = kind_of_folder(where, variant)
        if issubclass(kind, Classifier):
            options["labels"] = labels
        elif labels is not None:
            raise ModelLoadError(
                f"{display(where)} is the folder of a language model: it has no labels"
            )
        folder: AnyFolder = _made(kind, where, variant=variant, **options)
        return folder
    if variant is not None:
        raise ModelLoadError(
            f"{display(where)} is one file: variant={variant!r} chooses among those of a folder"
        )
    if where.suffix in _FILES:
        from conduit_lab.models.model import Model

        model: Model = _made(Model, where, labels=labels, **options)
        return model
    if not where.exists():
        raise _missing(where, root or current_root())
    raise ModelLoadError(f"{display(where)} is not a model: expected .onnx, .npz or a folder")


def _made(kind: Any, where: Path, **options: Any) -> Any:
    try:
        return kind(where, **options)
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        unknown = str(error).rpartition("argument ")[2]
        raise UnknownOption(
            f"load_model({display(where)!r}) gives a {kind.__name__}, which has no option {unknown}"
        ) from None


def _check_kind(model: AnyModel, kind: type[Any] | None, where: str) -> None:
    if kind is not None and not isinstance(model, kind):
        raise ModelLoadError(
            f"{where} is a {type(model).__name__}, expected a {kind.__name__}: "
            f"load_model(path, {type(model).__name__})"
        )
