"""Stillness: code that only reads changes nothing, and any mutable object may be changed."""

from __future__ import annotations

import pytest

from conduit_lab.export.stillness import is_still
from tests.export.session import Session

_STILL = {
    "a constant and a library": "import math\nK = (1, 2)\ndef ask(x: int): return K[0] + math.pi",
    "a helper, and a local dict": "def low(d):\n    d['a'] = 1\n    return d\n"
    "def ask(x: int): return low({})",
    "a model": "model = lab.load_model('models/sign.npz')\n"
    "def ask(x: int): return model.predict([[1, x]])",
    "a store and a method of it": "from functools import partial\n"
    "from conduit_lab import VectorStore\nshelf = VectorStore(2)\nfind = shelf.search\n"
    "best = partial(find, top_k=1)\ndef ask(x: int): return best([1, x])",
    "a stage of a function": "from conduit_lab import Sequential\n"
    "both = Sequential(lambda x: x + 1, lambda x: x * 2)\ndef ask(x: int): return both(x)",
    "an enum and a pattern": "import re\nfrom enum import Enum\nfrom pathlib import Path\n"
    "P = re.compile('a')\nHERE = Path('x')\ndef ask(x: int): return bool(P.match(str(HERE)))",
}
_CHANGING = {
    "a global": "calls = 0\ndef ask(x: int):\n    global calls\n    calls += 1\n    return calls",
    "a list": "log = []\ndef ask(x: int): return log.append(x)",
    "a bound method of a list": "add = [].append\ndef ask(x: int): return add(x)",
    "a list in a helper's default": "def note(x, seen=[]):\n    seen.append(x)\n    return seen\n"
    "def ask(x: int): return note(x)",
    "an attribute of the function": "def ask(x: int):\n    ask.count = x\n    return x",
    "an attribute of a class": "class A:\n    n = 0\ndef ask(x: int):\n"
    "    setattr(A, 'n', x)\n    return A.n",
    "an object": "class A:\n    n = 0\n    def up(self):\n        self.n += 1\n"
    "        return self.n\n"
    "a = A()\ndef ask(x: int): return a.up()",
    "a generator of NumPy": "import numpy as np\nrng = np.random.default_rng(1)\n"
    "def ask(x: int): return rng.random()",
    "the generator of a module": "import random\ndef ask(x: int): return random.random()",
    "a variable of a function around it": "def make():\n    n = 0\n    def up():\n"
    "        nonlocal n\n        n += 1\n        return n\n    return up\n"
    "up = make()\ndef ask(x: int): return up()",
    "a cached function": "from functools import lru_cache\n@lru_cache\ndef f(x): return x\n"
    "def ask(x: int): return f(x)",
    "an iterator": "numbers = iter(range(9))\ndef ask(x: int): return next(numbers)",
    "an array": "import numpy as np\na = np.zeros(2)\ndef ask(x: int): return a.sum()",
    "the names": "def ask(x: int): return globals().setdefault('n', x)",
    "a module of the process": "import os\ndef ask(x: int): return os.environ.setdefault('A', 'x')",
    "a stage of one's own": "from conduit_lab import Stage\nclass Add(Stage):\n    n = 0\n"
    "    def run(self, value):\n        self.n += 1\n        return value + self.n\n"
    "add = Add()\ndef ask(x: int): return add(x)",
}


def _still(session: Session, code: str) -> bool:
    head, _, body = code.rpartition("def ask")
    session.run(f"{head}@lab.post('/ask')\ndef ask{body}")
    return is_still(session.lab, session.lab.endpoints)


@pytest.mark.parametrize("name", _STILL)
def test_code_that_only_reads_is_still(name: str, session: Session) -> None:
    assert _still(session, _STILL[name])


@pytest.mark.parametrize("name", _CHANGING)
def test_an_object_that_a_call_may_change_is_not_still(name: str, session: Session) -> None:
    assert not _still(session, _CHANGING[name])
