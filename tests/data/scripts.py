"""The scripts of data/make, which are in no package, as modules."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

MAKE = Path(__file__).resolve().parents[2] / "data" / "make"
sys.path.append(str(MAKE))  # scripts import their neighbors


def script(name: str) -> ModuleType:
    """Import data/make/<name>.py."""
    spec = importlib.util.spec_from_file_location(f"data_make_{name}", MAKE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
