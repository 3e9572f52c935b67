"""Functions served by a call of the app's decorator, in loops, twice, or from a module."""

from __future__ import annotations

from tests.export.notebooks.notebook import Notebook

NOTEBOOKS = (
    Notebook(
        "a plain function served by a call",
        """
        RATE = 3
        def ask(x: int):
            return x * RATE
        lab.post("/ask")(ask)
        # %%
        lab.endpoints["/ask"](1)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "a function of a factory, served by a call",
        """
        def scaler(by):
            def scale(x: int):
                return x * by
            return scale
        triple = scaler(3)
        lab.post("/ask")(triple)
        # %%
        lab.endpoints["/ask"](1)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "functions served in a loop by their names",
        """
        def up(text: str):
            return text.upper()
        def low(text: str):
            return text.lower()
        for function in (up, low):
            lab.post("/" + function.__name__)(function)
        # %%
        lab.endpoints["/up"]("a"), lab.endpoints["/low"]("a")
        """,
        asks=('POST /up {"text": "Ab"}', 'POST /low {"text": "Ab"}'),
    ),
    Notebook(
        "a table of lambdas served in a loop by a factory",
        """
        ROUTES = {"/up": lambda text: text.upper(), "/low": lambda text: text.lower()}
        def handler(change):
            def handle(text: str):
                return change(text)
            return handle
        for path, change in ROUTES.items():
            handle = handler(change)
            handle.__name__ = path[1:]
            lab.post(path)(handle)
        # %%
        lab.endpoints["/up"]("a"), lab.endpoints["/low"]("a")
        """,
        asks=('POST /up {"text": "Ab"}', 'POST /low {"text": "Ab"}'),
    ),
    Notebook(
        "functions of a module beside one of the notebook",
        """
        import handlers
        from handlers import low as lower
        LIMIT = 3
        lab.post("/up")(handlers.up)
        lab.post("/low")(lower)
        @lab.post("/ask")
        def ask(x: int):
            return [x + LIMIT, handlers.up("b")]
        # %%
        ask(1), lab.endpoints["/up"]("a"), lab.endpoints["/low"]("a")
        """,
        asks=('POST /up {"text": "Ab"}', 'POST /low {"text": "Ab"}', 'POST /ask {"x": 5}'),
        files={
            "handlers.py": """
            MARK = "!"
            def up(text: str):
                return text.upper() + MARK
            def low(text: str):
                return text.lower()
            """
        },
    ),
    Notebook(
        "a module that serves a function of its own",
        """
        import routes
        routes.register(lab)
        # %%
        lab.endpoints["/ask"](1)
        """,
        asks=('POST /ask {"x": 5}',),
        refused=r"served by no statement of this session.*/ask",
        files={
            "routes.py": """
            RATE = 3
            def register(app):
                @app.post("/ask")
                def ask(x: int):
                    return x * RATE
            """
        },
    ),
    Notebook(
        "an endpoint above a decorator that keeps no name",
        """
        def doubled(function):
            def inner(x: int):
                return function(x) * 2
            return inner
        @lab.post("/ask")
        @doubled
        def ask(x: int):
            return x + 1
        # %%
        ask(1)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "one function under two paths",
        """
        @lab.post("/add")
        @lab.post("/ask")
        def ask(x: int):
            return x + 1
        # %%
        ask(1), lab.endpoints["/ask"](1)
        """,
        asks=('POST /ask {"x": 5}', 'POST /add {"x": 5}'),
    ),
    Notebook(
        "one function for two methods of a path",
        """
        def ask(x: int):
            return x + 1
        lab.post("/ask")(ask)
        lab.get("/ask")(ask)
        # %%
        lab.endpoints[0](1), lab.endpoints[1](2)
        """,
        asks=('POST /ask {"x": 5}', "GET /ask?x=5"),
    ),
    Notebook(
        "a method of an object and one of a class, served by calls",
        """
        class Shop:
            def __init__(self, rate):
                self.rate = rate
            def price(self, x: int):
                return self.rate * x
            @staticmethod
            def up(text: str):
                return text.upper()
        shop = Shop(3)
        lab.post("/price")(shop.price)
        lab.post("/up")(Shop.up)
        # %%
        lab.endpoints["/price"](1), lab.endpoints["/up"]("a")
        """,
        asks=('POST /price {"x": 5}', 'POST /up {"text": "Ab"}'),
    ),
)
