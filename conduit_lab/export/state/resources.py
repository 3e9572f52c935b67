"""The parts of this package's own objects that belong to an app's state."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from conduit_lab.client.remote_app import RemoteApp
from conduit_lab.core.stage import Function
from conduit_lab.core.streams.stream import Stream
from conduit_lab.export.state.anatomy import is_kind, module_of
from conduit_lab.export.state.tables import table_parts
from conduit_lab.export.state.walk import BUILT, Walk
from conduit_lab.flow.combinator import Combinator
from conduit_lab.flow.rag import Rag
from conduit_lab.models.file_model import FileModel
from conduit_lab.models.folder_model import FolderModel
from conduit_lab.runtime.checks.content import file_digest
from conduit_lab.serving.app import App
from conduit_lab.serving.endpoint import Endpoint
from conduit_lab.serving.resource import AppResource
from conduit_lab.vectors.store import VectorStore

MAX_ENTRIES = 20_000  # larger stores are compared by number of entries only
_MODEL_OPTIONS = ("device", "fallback", "timeout")
_RAG_SETTINGS = ("top_k", "mode", "min_score", "name", "options")

_PACKAGES = ("conduit_lab", "pandas")
_RESOURCES = (App, Endpoint, FileModel, VectorStore, Rag, Combinator, Stream, RemoteApp)

_Parts = tuple[str, list[tuple[str, Any]]]


def resource_parts(value: Any, walk: Walk) -> _Parts | None:
    """Return the line and the parts of a package object or table; None for anything else."""
    kind = type(value)
    if module_of(kind).partition(".")[0] not in _PACKAGES and not is_kind(kind, _RESOURCES):
        return None  # without reading attributes, which may run session code
    if isinstance(value, App):
        return "the app", []
    if isinstance(value, AppResource):
        built = [(BUILT.removeprefix(", "), value())] if _is_compared(value, walk) else []
        return f"resource {value.name}", [*built, ("", value.function)]
    if isinstance(value, Endpoint):
        below = [("", value.function)]
        below += [] if value.then is None else [("its stage", value.then)]
        return f"endpoint {value.method} {value.path} ({value.shape})", below
    if isinstance(value, FileModel):
        return _model(value)
    if isinstance(value, VectorStore):
        return _store(value)
    if isinstance(value, Rag):
        settings = {name: getattr(value, name) for name in _RAG_SETTINGS}
        parts = [("its store", value.store), ("its generator", value.generator)]
        prompt = value._template
        return "Rag", [
            *parts,
            ("its reranker", value.rerank),
            ("its settings", settings),
            ("its prompt", None if prompt is None else vars(prompt)),
        ]
    if type(value) is Function:
        return f"stage {value.name}", [("its function", value.function)]
    if isinstance(value, Combinator) and type(value).__module__.startswith("conduit_lab."):
        parts = [*value.arguments.items(), ("its settings", value._settings())]
        return f"{type(value).__name__} {value.name}", [(str(name), part) for name, part in parts]
    if isinstance(value, Stream):
        return "a Stream", []
    if isinstance(value, RemoteApp):  # excludes its connection, which holds the key
        key = "with" if value.has_key else "without"
        return f"connected app {value.url} {key} a key", [("its timeout", value.timeout)]
    return table_parts(value)


def _is_compared(resource: AppResource[Any], walk: Walk) -> bool:
    """Return whether the object of a resource is part of the state, rather than of its process."""
    from conduit_lab.export.state.built_resources import changed_input

    if walk.built is None:
        return bool(changed_input(resource, walk.root))
    return resource.name in walk.built


def _model(model: Any) -> _Parts:
    """Describe a model by the content that it opened; its file may have changed since."""
    options = {name: getattr(model.options, name) for name in _MODEL_OPTIONS}
    options["variant"] = getattr(model, "variant", None)
    options["remote"] = model.remote or None
    return model_text(model, model.shared.key[0]), [
        ("its options", {name: value for name, value in options.items() if value is not None}),
        ("its labels", getattr(model, "labels", None)),
    ]


def model_text(model: Any, graph: str) -> str:
    """Return the line of a model whose graph or weights have the given content."""
    content = [graph, *(_other_files(model) if isinstance(model, FolderModel) else ())]
    mark = hashlib.blake2b("".join(content).encode(), digest_size=8).hexdigest()
    return f"{type(model).__name__} {model.name}, content {mark}"


def _other_files(model: FolderModel[Any]) -> Iterator[str]:
    """Yield digests of a folder's other files, such as tokenizer and configuration."""
    for path in sorted(model.path.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(model.path).parts)
        if path.suffix in (".json", ".txt", ".jinja", ".model") and not hidden and path.is_file():
            yield path.name + file_digest(path).hex()


def _store(store: VectorStore) -> _Parts:
    """Describe a store by its entries, or by their count if it is large or remote."""
    shown = f"store of {len(store)} entries, {store.dimension} × {store.metric}"
    if store.url is None and len(store) <= MAX_ENTRIES:
        mark = hashlib.blake2b(digest_size=8)
        for entry in store:
            mark.update(repr((entry.id, entry.metadata, entry.content)).encode("utf-8", "replace"))
            mark.update(entry.embedding.tobytes())
        shown += f", content {mark.hexdigest()}"
    return shown, [("its embedder", store.embedder)]
