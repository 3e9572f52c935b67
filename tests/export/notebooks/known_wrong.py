"""Notebooks whose export does not yet have the right verdict: the name, and the cause."""

_SETTING = "no state of this setting of a library"

KNOWN_WRONG: dict[str, str] = {
    "a registry that a decorator fills": "its snapshot comes behind the decorator that fills it",
    "a view of another array": "an array and its view become two arrays",
    "the output of a shell line": "IPython's list of lines counts as the notebook's own",
    "an encoder registered in a library": "the wrong answer is found, but not its cause",
    "an option of pandas": _SETTING,
    "the recursion limit": _SETTING,
    "a context variable that was set": "the thread of the session's server has no such value",
    "a logger with a level of its own, and prints": _SETTING,
}
