"""Registry: the form of each type. A new family is one more file here and one line below."""

from __future__ import annotations

import re
import types
from enum import Enum
from pathlib import PurePath
from random import Random
from typing import Any

import numpy as np

from conduit_lab.client.remote_app import RemoteApp
from conduit_lab.client.remote_endpoint import RemoteEndpoint
from conduit_lab.client.remote_store import RemoteStore
from conduit_lab.core.frame_file import is_pandas_table
from conduit_lab.core.stage import Function
from conduit_lab.export.forms.array import ArrayForm, DtypeForm, MaskedArrayForm, NumberForm
from conduit_lab.export.forms.connected_app import ConnectedAppForm, ConnectedPartForm
from conduit_lab.export.forms.constructed import CONSTRUCTED
from conduit_lab.export.forms.definition import DefinitionForm, is_wrapper
from conduit_lab.export.forms.endpoint import EndpointForm
from conduit_lab.export.forms.form import Form
from conduit_lab.export.forms.instance import InstanceForm
from conduit_lab.export.forms.iterator import IteratorForm, is_iterator
from conduit_lab.export.forms.live import LIVE, ProcessBoundForm, is_opaque_iterator
from conduit_lab.export.forms.method import MethodForm
from conduit_lab.export.forms.model import ModelForm
from conduit_lab.export.forms.module import ModuleForm
from conduit_lab.export.forms.pandas_table import TableForm, TimestampForm, is_timestamp
from conduit_lab.export.forms.path import PathForm
from conduit_lab.export.forms.pattern import PatternForm
from conduit_lab.export.forms.rag import RagEndpointForm, RagForm
from conduit_lab.export.forms.random_state import NumpyRandomForm, RandomForm
from conduit_lab.export.forms.record_form import MemberForm, RecordForm, is_record
from conduit_lab.export.forms.settled_function import SettledFunctionForm, is_settled_function
from conduit_lab.export.forms.stage import StageForm
from conduit_lab.export.forms.store import StoreForm
from conduit_lab.export.forms.value import ConstantForm, ContainerForm, ShellOutputForm
from conduit_lab.export.namespace import Namespace, is_shell_output
from conduit_lab.flow.combinator import Combinator
from conduit_lab.flow.rag import Rag
from conduit_lab.models.file_model import FileModel
from conduit_lab.serving.endpoint import Endpoint
from conduit_lab.serving.rag_endpoint import RagEndpoint
from conduit_lab.vectors.store import VectorStore

_ROUTINES = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.MethodWrapperType,
    types.ClassMethodDescriptorType,
    type,
)
_CONSTANTS = (type(None), bool, int, float, str, bytes, tuple, type(...), type(NotImplemented))
_CONTAINERS = (list, dict, set, frozenset)

_MODULE = ModuleForm()
_DEFINITION = DefinitionForm()
_OBJECT = InstanceForm()
_ITERATOR = IteratorForm()
_RECORD = RecordForm()
_SHELL_OUTPUT = ShellOutputForm()
_TABLE = TableForm()
_TIMESTAMP = TimestampForm()
_SETTLED_FUNCTION = SettledFunctionForm()
_PROCESS_BOUND = ProcessBoundForm()

FORMS: dict[type, Form] = {
    Endpoint: EndpointForm(),
    RagEndpoint: RagEndpointForm(),
    FileModel: ModelForm(),
    VectorStore: StoreForm(),
    Rag: RagForm(),
    RemoteApp: ConnectedAppForm(),
    **dict.fromkeys((RemoteEndpoint, RemoteStore), ConnectedPartForm()),
    **dict.fromkeys((Combinator, Function), StageForm()),
    types.ModuleType: _MODULE,
    types.MethodType: MethodForm(),
    **dict.fromkeys(_ROUTINES, _DEFINITION),
    **dict.fromkeys(_CONSTANTS, ConstantForm()),
    **dict.fromkeys(_CONTAINERS, ContainerForm()),
    np.ndarray: ArrayForm(),
    np.ma.MaskedArray: MaskedArrayForm(),
    np.generic: NumberForm(),
    np.dtype: DtypeForm(),
    re.Pattern: PatternForm(),
    Enum: MemberForm(),
    **CONSTRUCTED,
    **dict.fromkeys(LIVE, _PROCESS_BOUND),
    Random: RandomForm(),
    **dict.fromkeys((np.random.Generator, np.random.RandomState), NumpyRandomForm()),
    PurePath: PathForm(),
}


def form_of(value: Any) -> Form:
    """Return the form of a live object: that of the first registered class in its type's MRO.

    A callable that stores the decorated function in `__wrapped__` has the form of a function.
    """
    kind = type(value)
    for base in kind.__mro__:
        form = FORMS.get(base)
        if form is not None and (base is kind or not form.exact):
            return form
    if is_shell_output(value):
        return _SHELL_OUTPUT
    if is_pandas_table(value):
        return _TABLE
    if is_timestamp(value):
        return _TIMESTAMP
    if is_settled_function(value):
        return _SETTLED_FUNCTION
    if is_record(value):
        return _RECORD
    if is_opaque_iterator(value):
        return _PROCESS_BOUND
    if is_iterator(value):
        return _ITERATOR
    return _DEFINITION if is_wrapper(value) else _OBJECT


def form_of_name(name: str, value: Any, namespace: Namespace) -> Form:
    """Return the form of the object bound to `name`, which may have been imported."""
    form = form_of(value)
    return _MODULE if form.is_imported(name, value, namespace) else form
