"""The forms of random generators: created, then set to their current state."""

from __future__ import annotations

from typing import Any

import numpy as np

from conduit_lab.export.forms.form import Draft
from conduit_lab.export.forms.value import ObjectForm


class RandomForm(ObjectForm):
    """A `random.Random` is created, then set to its state."""

    exact = True

    def expression(self, value: Any, draft: Draft) -> str:
        """Return the name of the generator, which the preceding statements create."""
        name = draft.add_part(value, f"{draft.imported('random', 'Random')}()")
        draft.before.append(f"{name}.setstate({draft.find(value.getstate(), 'state')})")
        return name


class NumpyRandomForm(ObjectForm):
    """A NumPy generator is created from its bit generator, which is set to its state."""

    exact = True

    def expression(self, value: Any, draft: Draft) -> str:
        """Return the name of the generator, which the preceding statements create."""
        bits = value._bit_generator if hasattr(value, "_bit_generator") else value.bit_generator
        state = value.get_state(legacy=False) if hasattr(value, "get_state") else bits.state
        kind = draft.imported("numpy.random", type(value).__name__)
        made = draft.imported("numpy.random", type(bits).__name__)
        seed = bits.seed_seq
        if seed is None:  # legacy seeding, without a SeedSequence
            name = draft.add_part(value, f"{kind}(0)")
        else:
            name = draft.add_part(value, f"{kind}({made}({_seed(seed, draft)}))")
        if hasattr(value, "set_state"):  # RandomState has state beyond its bit generator
            draft.before.append(f"{name}.set_state({draft.find(state, 'state')})")
        else:
            draft.before.append(f"{name}.bit_generator.state = {draft.find(state, 'state')}")
        return name


def _seed(seed: Any, draft: Draft) -> str:
    """Return the call that creates the seed sequence, which later spawns may need."""
    if type(seed) is not np.random.SeedSequence:
        raise draft.nameless(seed)
    known = {"spawn_key": (), "pool_size": 4, "n_children_spawned": 0}
    options = {key: getattr(seed, key) for key in known}
    parts = [draft.find(seed.entropy)]
    parts += [f"{key}={draft.find(each)}" for key, each in options.items() if each != known[key]]
    return f"{draft.imported('numpy.random', 'SeedSequence')}({', '.join(parts)})"
