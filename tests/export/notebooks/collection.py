"""Every notebook, by its kind."""

from __future__ import annotations

from tests.export.notebooks import (
    aliases,
    array_views,
    blocks,
    calls,
    changed_objects,
    classes,
    closures,
    constructors,
    cycles,
    data_tutorials,
    defaults,
    environment,
    hints,
    identity_tests,
    iterators,
    language_features,
    library_settings,
    magics,
    model_tutorials,
    models_and_stores,
    modules,
    names,
    odd_objects,
    old_resources,
    old_versions,
    opened_files,
    registrations,
    secret_values,
    served_by_calls,
    tables,
    values,
)
from tests.export.notebooks.notebook import Notebook

_MODULES = (
    changed_objects,
    defaults,
    classes,
    old_versions,
    registrations,
    served_by_calls,
    aliases,
    names,
    modules,
    environment,
    library_settings,
    calls,
    secret_values,
    opened_files,
    tables,
    array_views,
    magics,
    blocks,
    hints,
    odd_objects,
    constructors,
    iterators,
    closures,
    values,
    models_and_stores,
    model_tutorials,
    data_tutorials,
    cycles,
    identity_tests,
    old_resources,
    language_features,
)

KINDS: dict[str, tuple[Notebook, ...]] = {
    module.__name__.rpartition(".")[2]: module.NOTEBOOKS for module in _MODULES
}
NOTEBOOKS = {each.name: each for notebooks in KINDS.values() for each in notebooks}
