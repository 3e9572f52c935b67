"""The forms of random generators: made, then set to the state that they have now."""

from __future__ import annotations

from typing import Any

import numpy as np

from conduit_lab.export.forms.form import Draft
from conduit_lab.export.forms.value import ObjectForm


class RandomForm(ObjectForm):
    """A `random.Random` is set to its state."""

    exact = True

    def expression(self, value: Any, draft: Draft) -> str:
        """Return the name of the generator, which the statements in front of it make."""
        name = draft.add_part(value, f"{draft.imported('random', 'Random')}()")
        draft.before.append(f"{name}.setstate({draft.find(value.getstate(), 'state')})")
        return name


class NumpyRandomForm(ObjectForm):
    """A NumPy generator is made of its kind of bits, which are set to their state."""

    exact = True

    def expression(self, value: Any, draft: Draft) -> str:
        """Return the name of the generator, which the statements in front of it make."""
        bits = value._bit_generator if hasattr(value, "_bit_generator") else value.bit_generator
        state = value.get_state(legacy=False) if hasattr(value, "get_state") else bits.state
        kind = draft.imported("numpy.random", type(value).__name__)
        made = draft.imported("numpy.random", type(bits).__name__)
        seed = bits.seed_seq
        if seed is None:  # seeded as NumPy did before it had generators
            name = draft.add_part(value, f"{kind}(0)")
        else:
            name = draft.add_part(value, f"{kind}({made}({_seed(seed, draft)}))")
        if hasattr(value, "set_state"):  # its state holds a number that its bits do not have
            draft.before.append(f"{name}.set_state({draft.find(state, 'state')})")
        else:
            draft.before.append(f"{name}.bit_generator.state = {draft.find(state, 'state')}")
        return name


def _seed(seed: Any, draft: Draft) -> str:
    """Return the call that makes a seed sequence, from which later generators are spawned."""
    if type(seed) is not np.random.SeedSequence:
        raise draft.nameless(seed)
    known = {"spawn_key": (), "pool_size": 4, "n_children_spawned": 0}
    options = {key: getattr(seed, key) for key in known}
    parts = [draft.find(seed.entropy)]
    parts += [f"{key}={draft.find(each)}" for key, each in options.items() if each != known[key]]
    return f"{draft.imported('numpy.random', 'SeedSequence')}({', '.join(parts)})"
