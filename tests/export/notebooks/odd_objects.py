"""Objects with unusual attributes, comparisons and copies, and objects that have no file form."""

from __future__ import annotations

from tests.export.notebooks.notebook import Notebook

NOTEBOOKS = (
    Notebook(
        "an object that has every attribute",
        """
        class Anything:
            def __getattr__(self, name):
                return {"name": name}
        anything = Anything()
        # %%
        @lab.post("/ask")
        def ask(name: str):
            return getattr(anything, name)
        ask("a")
        """,
        asks=('POST /ask {"name": "b"}', 'POST /ask {"name": "__wrapped__"}'),
    ),
    Notebook(
        "an object whose attributes raise",
        """
        class Closed:
            def __init__(self):
                self.rate = 3
            def __getattr__(self, name):
                raise RuntimeError("closed: " + name)
            def __repr__(self):
                raise ValueError("no repr")
        closed = Closed()
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return x * closed.rate
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "objects equal to everything, or to nothing",
        """
        class Any_:
            def __eq__(self, other):
                return True
            __hash__ = None
        class Never:
            def __eq__(self, other):
                raise TypeError("do not compare")
            def __hash__(self):
                return 1
            def __bool__(self):
                raise TypeError("neither true nor false")
        anything, never = Any_(), Never()
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [anything == x, hash(never), x]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "an object that claims another class",
        """
        class Fake:
            __class__ = dict
            def value(self, x):
                return x + 1
        fake = Fake()
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [fake.value(x), isinstance(fake, dict)]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
        refused=r"/ask.*fake",
        or_equal=True,
    ),
    Notebook(
        "an object that refuses to be reduced",
        """
        class Locked:
            def __init__(self, rate):
                self.rate = rate
            def __reduce_ex__(self, protocol):
                raise TypeError("cannot be pickled")
        locked = Locked(3)
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return x * locked.rate
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "an object that refuses to be reduced, changed since",
        """
        class Locked:
            def __init__(self, rate):
                self.rate = rate
            def __reduce_ex__(self, protocol):
                raise TypeError("cannot be pickled")
        locked = Locked(3)
        # %%
        locked.rate = 4
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return x * locked.rate
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
        refused=r"/ask.*locked",
        or_equal=True,
    ),
    Notebook(
        "descriptors, class getitem and a callable instance",
        """
        class Positive:
            def __set_name__(self, owner, name):
                self.name = "_" + name
            def __get__(self, item, owner=None):
                return self if item is None else getattr(item, self.name)
            def __set__(self, item, value):
                setattr(item, self.name, max(0, value))
        class Account:
            balance = Positive()
            def __class_getitem__(cls, key):
                return f"{cls.__name__}[{key}]"
            def __init__(self, balance):
                self.balance = balance
            def __call__(self, x):
                return self.balance + x
        account = Account(3)
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [account(x), Account(x).balance, Account["k"]]
        ask(0)
        """,
        asks=('POST /ask {"x": -5}',),
    ),
    Notebook(
        "a lock",
        """
        import threading
        lock = threading.Lock()
        # %%
        @lab.post("/ask")
        def ask(x: int):
            with lock:
                return x + 1
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "a queue with work in it",
        """
        import queue
        jobs = queue.Queue()
        jobs.put("a")
        jobs.put("b")
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [jobs.qsize(), x]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
        refused=r"/ask.*jobs",
        or_equal=True,
    ),
    Notebook(
        "a thread that counts",
        """
        import threading
        ticks = []
        worker = threading.Thread(target=ticks.append, args=(1,))
        worker.start()
        worker.join()
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [len(ticks), x, worker.is_alive(), worker.ident is not None]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
        refused=r"/ask.*(worker|ticks)",
    ),
    Notebook(
        "a connection to a database in memory",
        """
        import sqlite3
        db = sqlite3.connect(":memory:", check_same_thread=False)
        db.execute("create table t (name, price)")
        db.execute("insert into t values ('cup', 3)")
        # %%
        @lab.post("/ask")
        def ask(name: str):
            rows = db.execute("select price from t where name = ?", (name,)).fetchall()
            return rows
        ask("pot")
        """,
        asks=('POST /ask {"name": "cup"}',),
        refused=r"/ask.*db",
        in_kernel=True,
    ),
    Notebook(
        "a generator in the middle",
        """
        numbers = (n * n for n in range(1000))
        next(numbers), next(numbers)
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return next(numbers) if x else 0
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
        refused=r"/ask.*numbers",
    ),
    Notebook(
        "iterators, a counter of itertools and a weak reference",
        """
        import itertools
        ids = itertools.count(1)
        next(ids)
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return next(ids) if x else 0
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
        refused=r"/ask.*ids",
        or_equal=True,
    ),
    Notebook(
        "a context variable that was set",
        """
        from contextvars import ContextVar
        mode = ContextVar("mode", default="loose")
        mode.set("strict")
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [mode.get("none"), x]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
        refused=r"/ask.*mode",
        in_kernel=True,
    ),
    Notebook(
        "a logger with a level of its own, and prints",
        """
        import logging
        import sys
        log = logging.getLogger("desk.shop")
        log.setLevel(logging.DEBUG)
        # %%
        @lab.post("/ask")
        def ask(x: int):
            log.debug("asked for %s", x)
            print("asked", x, file=sys.stderr)
            return {"x": x, "name": log.name, "debug": x > 0 and log.isEnabledFor(10)}
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
        refused=r"/ask.*log",
        or_equal=True,
        in_kernel=True,
    ),
    Notebook(
        "a global that each call counts up",
        """
        calls = 0
        history = []
        # %%
        @lab.post("/ask")
        def ask(x: int):
            global calls
            calls += 1
            history.append(x)
            return {"calls": calls, "last": history[-2:]}
        ask(7)
        """,
        asks=('POST /ask {"x": 5}', 'POST /ask {"x": 6}'),
        refused=r"/ask.*(calls|history)|/ask does not answer the same twice",
        or_equal=True,
        in_kernel=True,
    ),
    Notebook(
        "a context variable with a default that changed since",
        """
        from contextvars import ContextVar
        level = 3
        mode = ContextVar("mode", default=level)
        level = 9
        # %%
        @lab.post("/ask")
        def ask(x: int):
            token = mode.set(mode.get() + x)
            try:
                return [mode.get(), level]
            finally:
                mode.reset(token)
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "a context variable inside an object",
        """
        from contextvars import ContextVar
        class Shop:
            def __init__(self):
                self.user = ContextVar("user")
        shop = Shop()
        shop.user.set("me")
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [x, shop.user.get("nobody") if x else ""]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
        refused=r"the variable user of shop is set.*/ask.*shop",
    ),
    Notebook(
        "the name of the module, and of its classes",
        """
        class Tea:
            pass
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [__name__, repr(Tea())[:5], Tea.__module__][:x]
        ask(0)
        """,
        asks=('POST /ask {"x": 1}', 'POST /ask {"x": 3}'),
        refused=r"/ask.*__name__|__name__.*/ask",
    ),
)
