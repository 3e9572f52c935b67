"""conduit_lab: from a notebook cell to a served app, on one runtime.

The public names are resolved at their first use: importing the package loads neither onnxruntime
nor Jupyter.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from conduit_lab.core.version import __version__ as __version__

if TYPE_CHECKING:
    from conduit_lab.client.remote_app import RemoteApp as RemoteApp
    from conduit_lab.client.remote_app import connect as connect
    from conduit_lab.core.caller import Caller as Caller
    from conduit_lab.core.caller import current_caller as current_caller
    from conduit_lab.core.errors import ConduitError as ConduitError
    from conduit_lab.core.frame_file import load_frame as load_frame
    from conduit_lab.core.run import run as run
    from conduit_lab.core.stage import Function as Function
    from conduit_lab.core.stage import Stage as Stage
    from conduit_lab.core.streams.merge import merge as merge
    from conduit_lab.core.streams.stream import Stream as Stream
    from conduit_lab.core.trace.otel import OpenTelemetryExporter as OpenTelemetryExporter
    from conduit_lab.core.trace.recorder import record as record
    from conduit_lab.core.trace.span import Span as Span
    from conduit_lab.core.trace.trace import Trace as Trace
    from conduit_lab.core.trace.trace_diff import TraceDiff as TraceDiff
    from conduit_lab.export.export_plan import plan_app as plan_app
    from conduit_lab.export.export_result import Export as Export
    from conduit_lab.export.writer import export_app as export_app
    from conduit_lab.flow.averages import average as average
    from conduit_lab.flow.averages import maximum as maximum
    from conduit_lab.flow.averages import minimum as minimum
    from conduit_lab.flow.averages import rank_average as rank_average
    from conduit_lab.flow.averages import weighted as weighted
    from conduit_lab.flow.cached import Cached as Cached
    from conduit_lab.flow.cited_answer import CitedAnswer as CitedAnswer
    from conduit_lab.flow.cited_answer import RagAnswer as RagAnswer
    from conduit_lab.flow.ensemble import Ensemble as Ensemble
    from conduit_lab.flow.ensemble_answer import EnsembleArray as EnsembleArray
    from conduit_lab.flow.ensemble_answer import EnsemblePrediction as EnsemblePrediction
    from conduit_lab.flow.ensemble_answer import EnsemblePredictions as EnsemblePredictions
    from conduit_lab.flow.fallback import Fallback as Fallback
    from conduit_lab.flow.lazy_parallel import LazyParallel as LazyParallel
    from conduit_lab.flow.parallel import Parallel as Parallel
    from conduit_lab.flow.rag import Rag as Rag
    from conduit_lab.flow.route import Route as Route
    from conduit_lab.flow.route_table import RouteTable as RouteTable
    from conduit_lab.flow.sequential import Sequential as Sequential
    from conduit_lab.flow.stacking import stacking as stacking
    from conduit_lab.flow.votes import majority_vote as majority_vote
    from conduit_lab.models.callable import CallableModel as CallableModel
    from conduit_lab.models.generation.generator import Generator as Generator
    from conduit_lab.models.generation.result import Generation as Generation
    from conduit_lab.models.generation.result import Token as Token
    from conduit_lab.models.generation.sampling_options import SamplingOptions as SamplingOptions
    from conduit_lab.models.load import load_model as load_model
    from conduit_lab.models.measure.compare import compare_models as compare_models
    from conduit_lab.models.measure.optimize import optimize as optimize
    from conduit_lab.models.measure.tune import tune as tune
    from conduit_lab.models.model import Model as Model
    from conduit_lab.models.prediction import Prediction as Prediction
    from conduit_lab.models.prediction import Predictions as Predictions
    from conduit_lab.models.text.embedder import Embedder as Embedder
    from conduit_lab.models.text.entity import Entities as Entities
    from conduit_lab.models.text.entity import Entity as Entity
    from conduit_lab.models.text.reranker import Reranker as Reranker
    from conduit_lab.models.text.text_classifier import TextClassifier as TextClassifier
    from conduit_lab.models.text.token_classifier import TokenClassifier as TokenClassifier
    from conduit_lab.notebook.lab import Lab as Lab
    from conduit_lab.runtime.hardware.devices import Devices as Devices
    from conduit_lab.runtime.hardware.devices import devices as devices
    from conduit_lab.runtime.sessions.session import Options as Options
    from conduit_lab.runtime.sessions.session import register_custom_ops as register_custom_ops
    from conduit_lab.serving.app import App as App
    from conduit_lab.serving.array_shape import ArrayShape as ArrayShape
    from conduit_lab.serving.endpoint import Endpoint as Endpoint
    from conduit_lab.serving.event_source import events as events
    from conduit_lab.serving.file import File as File
    from conduit_lab.serving.gate.keys import Key as Key
    from conduit_lab.serving.gate.keys import Keys as Keys
    from conduit_lab.serving.gate.keys import new_key as new_key
    from conduit_lab.serving.limits import Limits as Limits
    from conduit_lab.serving.request import Request as Request
    from conduit_lab.vectors.entry import Entry as Entry
    from conduit_lab.vectors.evaluate import evaluate as evaluate
    from conduit_lab.vectors.hits import Hits as Hits
    from conduit_lab.vectors.store import VectorStore as VectorStore

_HOMES = {
    "App": "serving.app",
    "ArrayShape": "serving.array_shape",
    "Limits": "serving.limits",
    "Cached": "flow.cached",
    "CallableModel": "models.callable",
    "Caller": "core.caller",
    "CitedAnswer": "flow.cited_answer",
    "ConduitError": "core.errors",
    "Devices": "runtime.hardware.devices",
    "Embedder": "models.text.embedder",
    "Endpoint": "serving.endpoint",
    "Ensemble": "flow.ensemble",
    "EnsembleArray": "flow.ensemble_answer",
    "EnsemblePrediction": "flow.ensemble_answer",
    "EnsemblePredictions": "flow.ensemble_answer",
    "Entities": "models.text.entity",
    "Entity": "models.text.entity",
    "Entry": "vectors.entry",
    "Export": "export.export_result",
    "Fallback": "flow.fallback",
    "File": "serving.file",
    "Function": "core.stage",
    "Generation": "models.generation.result",
    "Generator": "models.generation.generator",
    "Hits": "vectors.hits",
    "Key": "serving.gate.keys",
    "Keys": "serving.gate.keys",
    "Lab": "notebook.lab",
    "LazyParallel": "flow.lazy_parallel",
    "Model": "models.model",
    "OpenTelemetryExporter": "core.trace.otel",
    "Options": "runtime.sessions.session",
    "Parallel": "flow.parallel",
    "Prediction": "models.prediction",
    "Predictions": "models.prediction",
    "Rag": "flow.rag",
    "RagAnswer": "flow.cited_answer",
    "RemoteApp": "client.remote_app",
    "Request": "serving.request",
    "Reranker": "models.text.reranker",
    "Route": "flow.route",
    "RouteTable": "flow.route_table",
    "SamplingOptions": "models.generation.sampling_options",
    "Sequential": "flow.sequential",
    "Span": "core.trace.span",
    "Stage": "core.stage",
    "Stream": "core.streams.stream",
    "TextClassifier": "models.text.text_classifier",
    "Token": "models.generation.result",
    "TokenClassifier": "models.text.token_classifier",
    "Trace": "core.trace.trace",
    "TraceDiff": "core.trace.trace_diff",
    "VectorStore": "vectors.store",
    "average": "flow.averages",
    "connect": "client.remote_app",
    "compare_models": "models.measure.compare",
    "current_caller": "core.caller",
    "devices": "runtime.hardware.devices",
    "evaluate": "vectors.evaluate",
    "events": "serving.event_source",
    "export_app": "export.writer",
    "load_frame": "core.frame_file",
    "load_model": "models.load",
    "majority_vote": "flow.votes",
    "plan_app": "export.export_plan",
    "maximum": "flow.averages",
    "merge": "core.streams.merge",
    "minimum": "flow.averages",
    "new_key": "serving.gate.keys",
    "optimize": "models.measure.optimize",
    "rank_average": "flow.averages",
    "record": "core.trace.recorder",
    "register_custom_ops": "runtime.sessions.session",
    "run": "core.run",
    "stacking": "flow.stacking",
    "tune": "models.measure.tune",
    "weighted": "flow.averages",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def load_ipython_extension(_: Any) -> None:
    """Show streams, progress and errors in their cells, and add `%%stream`.

    This is `%load_ext conduit_lab`; a `Lab` does the same.
    """
    from conduit_lab.notebook import views

    views.register()


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
