"""Notebooks whose export does not yet have the right verdict: the name, and the cause."""

_READ = "a statement that reads a file is repeated without the file"
_MAIN = "a method of a session's object counts as an import from `__main__`"
_CHAIN = "the state of a module has no chain of names, and the mend is not to run a cell again"
_NOTEBOOK = "get_ipython and display count as builtins; the mend to define them is not true"
_DYNAMIC = "no static check of globals(), eval and __main__"
_GENERATED = "the state takes functions that a library generates for a class as the session's"
_MODULE_NAME = "the state compares the name of the module, `__main__` here and `app` there"
_ALIAS = "a snapshot of a container loses the names of the objects in it"
_SETTING = "no static check of settings that a call changes"
_ENVIRONMENT = "the replay has the session's environment, and no `.env.example` names the keys"
_FOLDERS = "the replay sees the folders of the session, and its error names no file"
_VARIES = "an answer that is never the same is not told from a wrong export"
_HANDLE = "an object without a file form is made again, and the error does not name it"

KNOWN_WRONG: dict[str, str] = {
    "a bound method of an object that was replaced": _MAIN,
    "bound methods of live objects": _MAIN,
    "a script run by %run": "a name bound by %run counts as an import from `__main__`",
    "a nested list under a name of its own": _ALIAS,
    "names swapped and unpacked": _ALIAS,
    "a list that holds itself": "comparing such a list recurses without end",
    "a name looked up in globals()": _DYNAMIC,
    "an expression of names for eval": _DYNAMIC,
    "names of the main module": _DYNAMIC,
    "an import of the main module": _DYNAMIC,
    "display in a branch that was not tried": _NOTEBOOK,
    "get_ipython in a helper": _NOTEBOOK,
    "a shell line inside the endpoint": _NOTEBOOK,
    "a magic inside a helper that was not called": _NOTEBOOK,
    "a setting of a module changed in memory": _CHAIN,
    "a module written again without a reload": _CHAIN,
    "a function of a module replaced by hand": _CHAIN,
    "a package with relative imports and data beside it": "`__file__` is compared as a text",
    "a namespace package": "a package without `__init__.py` is not copied",
    "a module of the project imported inside a function": "it is copied only if it was imported",
    "an absolute path of a file in the project": "a text that is a path is not told from others",
    "the precision of decimals": _SETTING,
    "a time of making and an id of the session": "date and UUID have no form: made again",
    "a key in an attribute of a class": "`secret_key` is not among the names of secrets",
    "a key in a file of the project without a suffix": "only files with a known suffix are read",
    "a key in an entry of a store": "the texts of a store are not read",
    "a key in an array of texts": "the texts of an array are not read",
    "a table read from a file and cleaned in steps": _READ,
    "an analysis of a table behind an endpoint": _READ,
    "a view of another array": "an array and its view become two arrays",
    "the output of a shell line": "IPython's list of lines counts as the notebook's own",
    "an enum, a date and a dataclass as parameters": _GENERATED,
    "named tuples and dataclasses of every kind": _GENERATED,
    "an async endpoint with async helpers": _GENERATED,
    "context managers, match and exceptions of its own": _GENERATED,
    "decorators with arguments, wraps and caches": _MODULE_NAME,
    "a decorator that is a class": _MODULE_NAME,
    "models of pydantic and of attrs": "the state holds an address of pydantic",
    "an object that claims another class": "isinstance believes `__class__`",
    "a generator in the middle": "a generator has no state",
    "a model inside an object": "the file of a model that only an object holds is not copied",
    "an encoder registered in a library": "what a library keeps for the session is no state",
    "a variable set by %env and read in the endpoint": _ENVIRONMENT,
    "a variable set in os.environ, read with a default": _ENVIRONMENT,
    "a key read from the environment inside the function": _ENVIRONMENT,
    "the home folder": _FOLDERS,
    "the current folder": _FOLDERS,
    "a function that opens a file by a name in the code": _FOLDERS,
    "a file that a cell wrote for a function to read": _FOLDERS,
    "an option of pandas": _SETTING,
    "the recursion limit": _SETTING,
    "a seed set once for the session": _VARIES,
    "NumPy seeded once, drawn from in an endpoint": _VARIES,
    "a pick without a seed": _VARIES,
    "the clock": _VARIES,
    "a new id per request": _VARIES,
    "a recorded answer that became stale": _VARIES,
    "a file that stays open": _HANDLE,
    "a connection to a database in memory": _HANDLE,
    "a context variable that was set": _HANDLE,
    "questions over pages of markdown": "a Rag of a name of its own comes after its endpoints",
    "a function of pandas that needs a package no cell imports": "its package is not required",
    "a logger with a level of its own, and prints": _SETTING,
}
