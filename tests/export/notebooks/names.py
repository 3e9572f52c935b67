"""Names: used again, hidden, deleted, dynamic, or the notebook's own."""

from __future__ import annotations

from tests.export.notebooks.notebook import Notebook

NOTEBOOKS = (
    Notebook(
        "a name of an endpoint, later of a plain function",
        """
        @lab.post("/clean")
        def clean(text: str):
            return text.strip()
        clean(" a ")
        # %%
        def clean(text):
            return text.upper()
        # %%
        @lab.post("/ask")
        def ask(text: str):
            return clean(text)
        ask("1")
        """,
        asks=('POST /ask {"text": " a "}', 'POST /clean {"text": " a "}'),
        refused=r"/ask.*clean|/clean.*clean",
        or_equal=True,
    ),
    Notebook(
        "a name of an endpoint, later of a value",
        """
        @lab.post("/top")
        def top(n: int):
            return n + 1
        top(1)
        # %%
        top = 7
        # %%
        @lab.post("/ask")
        def ask(n: int):
            return min(n, top)
        ask(1)
        """,
        asks=('POST /ask {"n": 50}', 'POST /top {"n": 50}'),
        refused=r"/ask.*top|/top",
        or_equal=True,
    ),
    Notebook(
        "names of builtins",
        """
        def sum(values):
            return 100
        max = min
        id = "mine"
        # %%
        @lab.post("/ask")
        def ask(a: int, b: int):
            return [sum([a, b]), max(a, b), id, len([a])]
        ask(1, 1)
        """,
        asks=('POST /ask {"a": 2, "b": 9}',),
    ),
    Notebook(
        "a deleted name that a branch needs",
        """
        def helper(x):
            return x + 1
        @lab.post("/ask")
        def ask(x: int):
            return helper(x) if x else 0
        ask(0)
        # %%
        del helper
        """,
        asks=('POST /ask {"x": 1}',),
        refused=r"helper is not defined in this session \(needed by POST /ask → ask\)",
    ),
    Notebook(
        "a name that was never there",
        """
        @lab.post("/ask")
        def ask(x: int):
            return undefined_helper(x) if x else 0
        ask(0)
        """,
        asks=('POST /ask {"x": 1}',),
        refused=r"undefined_helper is not defined.*/ask → ask",
    ),
    Notebook(
        "a name looked up in globals()",
        """
        def rule_a(x):
            return x + 1
        def rule_b(x):
            return x + 2
        # %%
        @lab.post("/ask")
        def ask(rule: str, x: int):
            return globals()["rule_" + rule](x) if x else 0
        ask("a", 0)
        """,
        asks=('POST /ask {"rule": "b", "x": 1}',),
        refused=r"globals\(\).*/ask",
    ),
    Notebook(
        "an expression of names for eval",
        """
        factor = 3
        @lab.post("/ask")
        def ask(x: int):
            return eval("x * factor") if x else 0
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
        refused=r"eval.*/ask",
    ),
    Notebook(
        "names of the main module",
        """
        import sys
        factor = 3
        @lab.post("/ask")
        def ask(x: int):
            return getattr(sys.modules["__main__"], "factor") * x if x else 0
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
        refused=r"__main__.*/ask",
        or_equal=True,
        in_kernel=True,
    ),
    Notebook(
        "an import of the main module",
        """
        factor = 3
        # %%
        @lab.post("/ask")
        def ask(x: int):
            if not x:
                return 0
            import __main__
            return __main__.factor * x
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
        refused=r"__main__.*/ask",
        in_kernel=True,
    ),
    Notebook(
        "display in a branch that was not tried",
        """
        @lab.post("/ask")
        def ask(x: int):
            if x > 5:
                display(x)
            return x
        ask(0)
        """,
        asks=('POST /ask {"x": 9}',),
        refused=r"display, which exists only in a notebook.*/ask",
    ),
    Notebook(
        "get_ipython in a helper",
        """
        def in_notebook():
            try:
                return get_ipython() is not None
            except NameError:
                return False
        @lab.post("/ask")
        def ask(x: int):
            return [x, in_notebook()] if x else []
        ask(0)
        """,
        asks=('POST /ask {"x": 9}',),
        refused=r"get_ipython.*/ask → ask → in_notebook",
    ),
    Notebook(
        "the last output, _",
        """
        40 + 2
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return x + kept
        kept = _
        # %%
        ask(0)
        """,
        asks=('POST /ask {"x": 1}',),
    ),
    Notebook(
        "globals that a function sets",
        """
        limit = 1
        def raise_limit(to):
            global limit, extra
            limit, extra = to, [to]
        # %%
        raise_limit(10)
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [min(x, limit), extra]
        ask(0)
        """,
        asks=('POST /ask {"x": 50}',),
    ),
    Notebook(
        "names bound by for, with, walrus and except",
        """
        for last in range(4):
            pass
        if (size := len("abc")) > 2:
            big = True
        try:
            {}["a"]
        except KeyError as error:
            reason = str(error)
        import contextlib
        with contextlib.nullcontext([1, 2]) as held:
            pass
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [x + last, size, big, reason, held]
        ask(0)
        """,
        asks=('POST /ask {"x": 50}',),
    ),
    Notebook(
        "names that app.py has itself",
        """
        HERE = "here"
        App = "app"
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [HERE * x, App]
        ask(0)
        """,
        asks=('POST /ask {"x": 2}',),
        refused=r"(HERE|App) is a name of the exported app.py.*/ask",
        or_equal=True,
    ),
    Notebook(
        "the lab under another name, used in an endpoint",
        """
        @lab.post("/ask")
        def ask(x: int):
            return [lab.name, service is lab, x]
        service = lab
        # %%
        ask(0)
        """,
        asks=('POST /ask {"x": 2}',),
    ),
)
