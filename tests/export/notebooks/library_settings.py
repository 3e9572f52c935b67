"""Options of libraries that a cell sets, and parts of libraries that it replaces."""

from __future__ import annotations

from tests.export.notebooks.notebook import Notebook

_SET = r"setting [^\n]*here, [^\n]*needed by POST /ask[^\n]*sets it[^\n]*inside the function"

NOTEBOOKS = (
    Notebook(
        "an option of pandas set by its attribute",
        """
        import pandas as pd
        pd.options.display.precision = 2
        # %%
        @lab.post("/ask")
        def ask(x: float):
            return str(pd.Series([x]))
        ask(1)
        """,
        asks=('POST /ask {"x": 3.14159265}',),
        in_kernel=True,
    ),
    Notebook(
        "an option of pandas that changes no answer",
        """
        import pandas as pd
        def wide():
            pd.set_option("display.max_columns", None)
        wide()
        # %%
        @lab.post("/ask")
        def ask(x: float):
            return pd.DataFrame({"x": [x, 2]}).sum().to_dict()
        ask(1)
        """,
        asks=('POST /ask {"x": 3.5}',),
        in_kernel=True,
    ),
    Notebook(
        "an option of pandas set by a function of the session",
        """
        import pandas as pd
        def wide():
            pd.set_option("display.precision", 2)
        wide()
        # %%
        @lab.post("/ask")
        def ask(x: float):
            return pd.Series([x]).to_string() if x > 1 else ""
        ask(1)
        """,
        asks=('POST /ask {"x": 3.14159265}',),
        refused=_SET,
        in_kernel=True,
    ),
    Notebook(
        "an option of pandas inside a with, which is over",
        """
        import pandas as pd
        with pd.option_context("display.precision", 2):
            shown = str(pd.Series([3.14159]))
        # %%
        @lab.post("/ask")
        def ask(x: float):
            return [shown, str(pd.Series([x]))]
        ask(1)
        """,
        asks=('POST /ask {"x": 3.14159265}',),
        in_kernel=True,
    ),
    Notebook(
        "print options of NumPy, and arrays as text",
        """
        import numpy as np
        np.set_printoptions(precision=2)
        # %%
        @lab.post("/ask")
        def ask(x: float):
            return f"{np.array([x])}" if x > 1 else ""
        ask(1)
        """,
        asks=('POST /ask {"x": 3.14159265}',),
        refused=_SET,
        in_kernel=True,
    ),
    Notebook(
        "print options of NumPy, and arrays as numbers",
        """
        import numpy as np
        np.set_printoptions(precision=2, suppress=True)
        # %%
        @lab.post("/ask")
        def ask(x: float):
            return (np.array([x]) * 2).tolist()
        ask(1)
        """,
        asks=('POST /ask {"x": 3.14159265}',),
        in_kernel=True,
    ),
    Notebook(
        "a limit of digits",
        """
        import sys
        sys.set_int_max_str_digits(0)
        # %%
        @lab.post("/ask")
        def ask(n: int):
            return len(str(10**n))
        ask(1)
        """,
        asks=('POST /ask {"n": 6000}',),
        in_kernel=True,
    ),
    Notebook(
        "a dialect of csv",
        """
        import csv
        csv.register_dialect("pipes", delimiter="|")
        # %%
        @lab.post("/ask")
        def ask(text: str):
            return list(csv.reader([text], dialect="pipes")) if "|" in text else None
        ask("a")
        """,
        asks=('POST /ask {"text": "a|b"}',),
        in_kernel=True,
    ),
    Notebook(
        "the default of json's encoder, replaced",
        """
        import json
        json.JSONEncoder.default = lambda self, value: sorted(value)
        # %%
        @lab.post("/ask")
        def ask(xs: list[int]):
            return json.dumps(set(xs) if xs else xs)
        ask([])
        """,
        asks=('POST /ask {"xs": [3, 1]}',),
        in_kernel=True,
    ),
    Notebook(
        "a function of a library, replaced",
        """
        import textwrap
        HEAD = "> "
        def quoted(text, prefix="", predicate=None):
            return HEAD + text
        textwrap.indent = quoted
        # %%
        @lab.post("/ask")
        def ask(text: str):
            return textwrap.indent(text, "  ") if text else ""
        ask("")
        """,
        asks=('POST /ask {"text": "a"}',),
        in_kernel=True,
    ),
    Notebook(
        "a method of a library's class, replaced by setattr",
        """
        from string import Formatter
        def loud(self, value, spec):
            return str(value).upper()
        setattr(Formatter, "format_field", loud)
        # %%
        @lab.post("/ask")
        def ask(text: str):
            return Formatter().format("{}", text) if text else ""
        ask("")
        """,
        asks=('POST /ask {"text": "a"}',),
        in_kernel=True,
    ),
    Notebook(
        "warnings that are errors",
        """
        import warnings
        warnings.simplefilter("error", UserWarning)
        # %%
        @lab.post("/ask")
        def ask(x: int):
            try:
                if x > 1:
                    warnings.warn("large", UserWarning)
            except UserWarning as problem:
                return str(problem)
            return "fine"
        ask(1)
        """,
        asks=('POST /ask {"x": 5}',),
        in_kernel=True,
    ),
    Notebook(
        "warnings that are ignored",
        """
        import warnings
        warnings.filterwarnings("ignore")
        # %%
        @lab.post("/ask")
        def ask(x: int):
            warnings.warn("odd")
            return x
        ask(1)
        """,
        asks=('POST /ask {"x": 5}',),
        in_kernel=True,
    ),
    Notebook(
        "the level of the root logger",
        """
        import logging
        logging.basicConfig(level=logging.DEBUG)
        log = logging.getLogger("desk.shop")
        # %%
        @lab.post("/ask")
        def ask(x: int):
            log.info("asked for %s", x)
            return x > 1 and log.isEnabledFor(10)
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
        in_kernel=True,
    ),
    Notebook(
        "the level of a logger without a name of its own",
        """
        import logging
        logging.getLogger("desk.shop").setLevel(logging.DEBUG)
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return x > 1 and logging.getLogger("desk.shop").isEnabledFor(10)
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
        in_kernel=True,
    ),
    Notebook(
        "a filter of a logger",
        """
        import logging
        log = logging.getLogger("desk.shop")
        class Short(logging.Filter):
            def filter(self, record):
                return len(record.getMessage()) < 5
        log.addFilter(Short())
        log.warning("hello")
        # %%
        @lab.post("/ask")
        def ask(text: str):
            record = log.makeRecord("a", 10, "f", 1, text, (), None)
            return text == "" or bool(log.filter(record))
        ask("")
        """,
        asks=('POST /ask {"text": "abc"}', 'POST /ask {"text": "abcdefgh"}'),
        in_kernel=True,
    ),
    Notebook(
        "the time zone",
        """
        import os
        import time
        os.environ["TZ"] = "Asia/Tokyo"
        time.tzset()
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return time.localtime(x).tm_hour if x else None
        ask(0)
        """,
        asks=('POST /ask {"x": 3600}',),
        refused=_SET,
        or_equal=True,
        in_kernel=True,
    ),
    Notebook(
        "a trap of decimals",
        """
        import decimal
        decimal.getcontext().traps[decimal.Inexact] = True
        # %%
        @lab.post("/ask")
        def ask(x: int):
            try:
                return str(decimal.Decimal(1) / x)
            except decimal.Inexact:
                return "inexact"
        ask(1)
        """,
        asks=('POST /ask {"x": 3}',),
        refused=_SET,
        in_kernel=True,
    ),
    Notebook(
        "an adapter of sqlite",
        """
        import sqlite3
        class Money(int):
            pass
        sqlite3.register_adapter(Money, lambda money: f"{int(money)} EUR")
        # %%
        @lab.post("/ask")
        def ask(x: int):
            with sqlite3.connect(":memory:") as base:
                value = Money(x) if x else x
                return base.execute("SELECT ?", (value,)).fetchone()[0]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
        in_kernel=True,
    ),
    Notebook(
        "an error handler of codecs",
        """
        import codecs
        def shout(error):
            return "!", error.end
        codecs.register_error("shout", shout)
        # %%
        @lab.post("/ask")
        def ask(text: str):
            return text.encode("ascii", "shout").decode() if text else ""
        ask("")
        """,
        asks=('POST /ask {"text": "é"}',),
        in_kernel=True,
    ),
    Notebook(
        "a type of files by its suffix",
        """
        import mimetypes
        mimetypes.add_type("text/x-shop", ".shop")
        # %%
        @lab.post("/ask")
        def ask(name: str):
            return mimetypes.guess_type(name)[0]
        ask("a.txt")
        """,
        asks=('POST /ask {"name": "a.shop"}',),
        in_kernel=True,
    ),
    Notebook(
        "the default timeout of sockets",
        """
        import socket
        socket.setdefaulttimeout(3)
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return socket.getdefaulttimeout() if x else None
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
        in_kernel=True,
    ),
    Notebook(
        "the current folder, changed",
        """
        import os
        os.chdir("texts")
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return open("a.txt").read() if x else ""
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
        refused=r"opens a\.txt, which is not in the export.*/ask",
        files={"texts/a.txt": "hello"},
        in_kernel=True,
    ),
    Notebook(
        "a folder on the path of modules",
        """
        import sys
        sys.path.insert(0, "src")
        import shoprates
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return shoprates.price(x)
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
        files={"src/shoprates.py": "RATE = 3\ndef price(x):\n    return x * RATE\n"},
        in_kernel=True,
    ),
)
