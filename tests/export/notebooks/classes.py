"""Classes that were patched, run again, or that keep what their subclasses and instances did."""

from __future__ import annotations

from tests.export.notebooks.notebook import Notebook

NOTEBOOKS = (
    Notebook(
        "a class patched after its statement",
        """
        class Shop:
            def price(self, x):
                return x
        # %%
        Shop.price = lambda self, x: 2 * x
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return Shop().price(x)
        ask(0)
        """,
        asks=('POST /ask {"x": 3}',),
        refused=r"/ask.*Shop",
        or_equal=True,
    ),
    Notebook(
        "an old constant in the body of a class",
        """
        RATE = 2
        # %%
        class Shop:
            rate = RATE
            table = {"base": RATE}
        # %%
        RATE = 3
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [x * Shop.rate, x * RATE, Shop.table]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
        refused=r"/ask.*Shop.*rate",
    ),
    Notebook(
        "a counter in a class",
        """
        class Ticket:
            made = 0
            def __init__(self):
                Ticket.made += 1
        # %%
        Ticket(), Ticket()
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return x + Ticket.made
        ask(0)
        """,
        asks=('POST /ask {"x": 40}',),
        refused=r"/ask.*Ticket.*made",
        or_equal=True,
    ),
    Notebook(
        "a registry that subclasses fill",
        """
        class Base:
            known = {}
            def __init_subclass__(cls):
                Base.known[cls.__name__.lower()] = cls
        # %%
        class Cat(Base):
            says = "meow"
        # %%
        class Dog(Base):
            says = "woof"
        # %%
        @lab.post("/ask")
        def ask(kind: str):
            return Base.known[kind].says if kind in Base.known else None
        ask("cow")
        """,
        asks=('POST /ask {"kind": "cat"}', 'POST /ask {"kind": "dog"}'),
        refused=r"/ask.*Base.*known",
        or_equal=True,
    ),
    Notebook(
        "a metaclass that collects",
        """
        class Meta(type):
            names = []
            def __new__(cls, name, bases, body):
                Meta.names.append(name)
                return super().__new__(cls, name, bases, body)
        class First(metaclass=Meta):
            pass
        # %%
        class Second(metaclass=Meta):
            pass
        # %%
        @lab.post("/ask")
        def ask(n: int):
            return Meta.names[:n]
        ask(0)
        """,
        asks=('POST /ask {"n": 5}',),
        refused=r"/ask.*Meta",
        or_equal=True,
    ),
    Notebook(
        "a base class that was run again",
        """
        class Base:
            def rate(self):
                return 1
        # %%
        class Shop(Base):
            pass
        # %%
        class Base:
            def rate(self):
                return 2
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return x * Shop().rate()
        ask(0)
        """,
        asks=('POST /ask {"x": 3}',),
        refused=r"/ask.*Shop.*(base|Base)",
    ),
    Notebook(
        "an instance of an old class",
        """
        class Tax:
            def rate(self):
                return 1
        tax = Tax()
        # %%
        class Tax:
            def rate(self):
                return 2
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return x * tax.rate()
        ask(0)
        """,
        asks=('POST /ask {"x": 3}',),
        refused=r"/ask.*tax",
    ),
    Notebook(
        "a class whose cell ran twice with everything after it",
        """
        class Tax:
            rate = 1
        tax = Tax()
        # %%
        class Tax:
            rate = 2
            def __init__(self, add=0):
                self.add = add
            def of(self, x):
                return x * self.rate + self.add
        # %%
        tax = Tax(add=5)
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return tax.of(x)
        ask(0)
        """,
        asks=('POST /ask {"x": 3}', 'POST /ask {"x": -1}'),
    ),
    Notebook(
        "a base that names its children",
        """
        class Shape:
            @classmethod
            def of(cls, kind, size):
                return {"circle": Circle, "square": Square}[kind](size)
            def __init__(self, size):
                self.size = size
        # %%
        class Circle(Shape):
            def area(self):
                return 3 * self.size ** 2
        class Square(Shape):
            def area(self):
                return self.size ** 2
        # %%
        @lab.post("/ask")
        def ask(kind: str, size: int):
            return Shape.of(kind, size).area()
        ask("circle", 1)
        """,
        asks=('POST /ask {"kind": "square", "size": 4}', 'POST /ask {"kind": "circle", "size": 2}'),
    ),
    Notebook(
        "abstract classes, properties, slots and operators",
        """
        from abc import ABC, abstractmethod
        from functools import total_ordering

        class Animal(ABC):
            __slots__ = ("_age",)
            def __init__(self, age):
                self._age = age
            @property
            def age(self):
                return self._age
            @abstractmethod
            def sound(self): ...
            @staticmethod
            def loud(text):
                return text.upper()

        @total_ordering
        class Cat(Animal):
            __slots__ = ()
            def sound(self):
                return self.loud("meow")
            def __eq__(self, other):
                return self.age == other.age
            def __lt__(self, other):
                return self.age < other.age
            def __call__(self, times):
                return self.sound() * times
        # %%
        @lab.post("/ask")
        def ask(a: int, b: int):
            return [Cat(a) >= Cat(b), Cat(a)(2), max(Cat(a), Cat(b)).age]
        ask(1, 2)
        """,
        asks=('POST /ask {"a": 9, "b": 2}', 'POST /ask {"a": 2, "b": 2}'),
    ),
    Notebook(
        "a method given to a class by a decorator in another cell",
        """
        class Text:
            def __init__(self, value):
                self.value = value
        def method_of(cls):
            def add(function):
                setattr(cls, function.__name__, function)
                return function
            return add
        # %%
        @method_of(Text)
        def shout(self):
            return self.value.upper()
        # %%
        @lab.post("/ask")
        def ask(x: str):
            return Text(x).shout()
        ask("a")
        """,
        asks=('POST /ask {"x": "hello"}',),
        refused=r"/ask.*Text",
        or_equal=True,
    ),
    Notebook(
        "a class attribute deleted and one added",
        """
        class Options:
            size = 1
            old = 2
        # %%
        del Options.old
        Options.extra = [1, 2]
        # %%
        @lab.post("/ask")
        def ask(name: str):
            return getattr(Options, name, None)
        ask("size")
        """,
        asks=('POST /ask {"name": "old"}', 'POST /ask {"name": "extra"}'),
        refused=r"/ask.*Options",
        or_equal=True,
    ),
    Notebook(
        "a class made by type()",
        """
        Point = type("Point", (), {"scale": 2, "twice": lambda self, x: x * self.scale})
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return Point().twice(x)
        ask(0)
        """,
        asks=('POST /ask {"x": 4}',),
        refused=r"/ask.*Point",
        or_equal=True,
    ),
    Notebook(
        "methods that call super(), mixins and class methods",
        """
        class Base:
            def __init__(self, x):
                self.x = x
            def value(self):
                return self.x
        class Doubled:
            def value(self):
                return 2 * super().value()
        class Both(Doubled, Base):
            made = 0
            def __init__(self, x):
                super().__init__(x)
                self.parts = [x]
            @classmethod
            def of(cls, text):
                return cls(int(text))
        # %%
        @lab.post("/ask")
        def ask(text: str):
            both = Both.of(text)
            return [both.value(), both.parts, [kind.__name__ for kind in Both.__mro__]]
        ask("1")
        """,
        asks=('POST /ask {"text": "21"}',),
    ),
)
