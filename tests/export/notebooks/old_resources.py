"""Resources that are older than the names that they use."""

from __future__ import annotations

from tests.export.notebooks.notebook import Notebook

NOTEBOOKS = (
    Notebook(
        "a resource built before its constant changed",
        """
        RATE = 2

        @lab.resource
        def table():
            return {'rate': RATE}
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return x * table()['rate']
        ask(0)
        # %%
        RATE = 3
        """,
        asks=('POST /ask {"x": 5}',),
        refused=r"table was built before",
    ),
    Notebook(
        "a resource that was closed and built again",
        """
        RATE = 2

        @lab.resource
        def table():
            return {'rate': RATE}
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return x * table()['rate']
        ask(0)
        # %%
        RATE = 3
        # %%
        table.close()
        ask(1)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "a resource built before a dict changed in place",
        """
        CFG = {'r': 2}

        @lab.resource
        def table():
            return CFG['r']
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return x * table()
        ask(0)
        # %%
        CFG['r'] = 3
        """,
        asks=('POST /ask {"x": 5}',),
        refused=r"table was built before",
    ),
    Notebook(
        "a resource built before its helper changed",
        """
        def make():
            return 2

        @lab.resource
        def table():
            return make()
        # %%
        @lab.post('/ask')
        def ask(x: int):
            return x * table()
        ask(0)
        # %%
        def make():
            return 3
        """,
        asks=('POST /ask {"x": 5}',),
        refused=r"table was built before",
    ),
    Notebook(
        "a resource that holds a list which calls fill",
        """
        seen = []

        class W:

            def __init__(self, items):
                self.items = items

        @lab.resource
        def worker():
            return W(seen)
        # %%
        @lab.post('/ask')
        def ask(x: int):
            worker().items.append(x)
            return worker().items is seen
        ask(0)
        ask(2)
        ask(3)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "a resource that calls fill",
        """
        RATE = 2

        @lab.resource
        def table():
            return {'rate': RATE}
        # %%
        @lab.post('/ask')
        def ask(x: int):
            table()[x] = 1
            return table()['rate']
        ask(0)
        ask(2)
        ask(3)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
)
