"""Modules: of the project, changed in memory or on disk, packages, and optional imports."""

from __future__ import annotations

from tests.export.notebooks.notebook import Notebook

_CHANGED = r"/ask.*(settings|shop_rules)"

NOTEBOOKS = (
    Notebook(
        "a setting of a module changed in memory",
        """
        import settings
        settings.MAX = 100
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return min(x, settings.MAX)
        ask(1)
        """,
        asks=('POST /ask {"x": 50}',),
        files={"settings.py": "MAX = 10\n"},
    ),
    Notebook(
        "a table of a module filled from the notebook",
        """
        from settings import TABLE, price
        TABLE["cup"] = 3
        # %%
        @lab.post("/ask")
        def ask(name: str):
            return price(name)
        ask("pot")
        """,
        asks=('POST /ask {"name": "cup"}',),
        files={
            "settings.py": """
            TABLE = {"pot": 1}


            def price(name):
                return TABLE.get(name)
            """
        },
        refused=r"/ask.*(settings|TABLE|price)",
    ),
    Notebook(
        "a module written again without a reload",
        """
        %%writefile shop_rules.py
        def fee(x):
            return x + 1
        # %%
        import shop_rules
        # %%
        %%writefile shop_rules.py
        def fee(x):
            return x + 100
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return shop_rules.fee(x)
        ask(1)
        """,
        asks=('POST /ask {"x": 50}',),
        refused=_CHANGED,
    ),
    Notebook(
        "a module written again and reloaded",
        """
        %%writefile shop_rules.py
        def fee(x):
            return x + 1
        # %%
        import shop_rules
        # %%
        %%writefile shop_rules.py
        LIMITS = {"high": 10}
        def fee(x):
            return x + 100 + LIMITS["high"]
        # %%
        import importlib
        importlib.reload(shop_rules)
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return shop_rules.fee(x)
        ask(1)
        """,
        asks=('POST /ask {"x": 50}',),
    ),
    Notebook(
        "a function of a module that was reloaded afterwards",
        """
        %%writefile shop_rules.py
        def fee(x):
            return x + 1
        # %%
        import importlib
        import shop_rules
        from shop_rules import fee
        # %%
        %%writefile shop_rules.py
        def fee(x):
            return x + 100
        # %%
        importlib.reload(shop_rules)
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return fee(x)
        ask(1)
        """,
        asks=('POST /ask {"x": 50}',),
        refused=r"/ask.*fee",
    ),
    Notebook(
        "a function of a module replaced by hand",
        """
        import shop_rules
        def cheap(x):
            return 0
        shop_rules.fee = cheap
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return shop_rules.total(x)
        ask(0)
        """,
        asks=('POST /ask {"x": 50}',),
        files={
            "shop_rules.py": """
            def fee(x):
                return x


            def total(x):
                return x + fee(x)
            """
        },
    ),
    Notebook(
        "a package with relative imports and data beside it",
        """
        from shop.prices import price
        from shop import rules as shop_rules
        # %%
        @lab.post("/ask")
        def ask(name: str):
            return [price(name), shop_rules.LIMIT, shop_rules.words()]
        ask("none")
        """,
        asks=('POST /ask {"name": "cup"}', 'POST /ask {"name": "pot"}'),
        files={
            "shop/__init__.py": "from .rules import LIMIT\n",
            "shop/rules.py": """
            from pathlib import Path

            LIMIT = 7


            def words():
                return (Path(__file__).parent / "words.txt").read_text("utf-8").split()
            """,
            "shop/prices.py": """
            from . import LIMIT
            from .deep.table import TABLE


            def price(name):
                return min(LIMIT, TABLE.get(name, 0))
            """,
            "shop/deep/__init__.py": "",
            "shop/deep/table.py": 'TABLE = {"cup": 3, "pot": 70}\n',
            "shop/words.txt": "one zwei drei\n",
        },
    ),
    Notebook(
        "a namespace package",
        """
        import plugins.upper
        from plugins import lower
        # %%
        @lab.post("/ask")
        def ask(text: str):
            return [plugins.upper.run(text), lower.run(text)]
        ask("1")
        """,
        asks=('POST /ask {"text": "Ab"}',),
        files={
            "plugins/upper.py": "def run(text):\n    return text.upper()\n",
            "plugins/lower.py": "def run(text):\n    return text.lower()\n",
        },
    ),
    Notebook(
        "a package named like a folder of models",
        """
        from models.rules import label_of
        sign = lab.load_model("models/sign.npz")
        # %%
        @lab.post("/ask")
        def ask(x: list[float]):
            return label_of(sign.predict(x).label)
        ask([1, 1])
        """,
        asks=('POST /ask {"x": [-1, -2]}', 'POST /ask {"x": [3, -2]}'),
        files={
            "models/__init__.py": "",
            "models/rules.py": 'def label_of(text):\n    return f"<{text}>"\n',
        },
    ),
    Notebook(
        "a module of the project imported inside a function",
        """
        @lab.post("/ask")
        def ask(x: int):
            if x == 0:
                return 0
            from late_rules import fee
            return fee(x)
        ask(0)
        """,
        asks=('POST /ask {"x": 50}',),
        files={"late_rules.py": "def fee(x):\n    return x + 1\n"},
    ),
    Notebook(
        "a class from a module, its instance made in a cell",
        """
        from shop_rules import Shop
        shop = Shop(rate=3)
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return shop.total(x)
        ask(0)
        """,
        asks=('POST /ask {"x": 50}',),
        files={
            "shop_rules.py": """
            class Shop:
                def __init__(self, rate):
                    self.rate = rate

                def total(self, x):
                    return x * self.rate
            """
        },
    ),
    Notebook(
        "an optional import that is there, and one that is not",
        """
        try:
            import orjson as fast_json
        except ImportError:
            fast_json = None
        try:
            import no_such_library
        except ImportError:
            no_such_library = None
        # %%
        @lab.post("/ask")
        def ask(x: int):
            text = fast_json.dumps([x]).decode() if fast_json else None
            return [text, no_such_library is None]
        ask(0)
        """,
        asks=('POST /ask {"x": 50}',),
    ),
    Notebook(
        "imports of many shapes",
        """
        import collections.abc, os.path as place
        import xml.etree.ElementTree as tree
        import xml.dom.minidom
        from math import *
        from itertools import chain as joined, islice
        from operator import (
            add,
            mul as times,
        )
        # %%
        @lab.post("/ask")
        def ask(x: int):
            node = tree.fromstring(f"<a><b>{x}</b></a>")
            return [
                place.basename("/a/b"), node[0].text, floor(x / 2), gcd(x, 12),
                list(islice(joined([x], [1]), 2)), add(x, 1), times(x, 2),
                xml.dom.minidom.parseString("<r/>").documentElement.tagName,
                issubclass(list, collections.abc.Sequence),
            ]
        ask(0)
        """,
        asks=('POST /ask {"x": 9}',),
    ),
    Notebook(
        "a script run by %run",
        """
        %run prepare.py
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [scaled(x), FACTOR]
        ask(0)
        """,
        asks=('POST /ask {"x": 9}',),
        files={
            "prepare.py": """
            FACTOR = 3


            def scaled(x):
                return x * FACTOR
            """
        },
        refused=r"/ask.*scaled",
        or_equal=True,
    ),
)
