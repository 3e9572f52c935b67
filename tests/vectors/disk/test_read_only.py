"""A store in a read-only place opens for reading, and reports that on a write."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from conduit_lab.core.errors import StoreError
from conduit_lab.vectors.disk import storage as storage_module
from conduit_lab.vectors.disk.storage import Storage
from conduit_lab.vectors.store import VectorStore
from tests.vectors.disk.test_changes import forget_changes
from tests.vectors.disk.test_format_1 import make_format_1
from tests.vectors.disk.test_storage import some


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.db"


READ_ONLY = """
import os, sys
from pathlib import Path
from conduit_lab.core.errors import StoreError
from conduit_lab.vectors.disk.storage import Storage
if os.geteuid() == 0:
    os.seteuid(65534)  # root may write everywhere
path = Path(sys.argv[1])
storage = Storage(path, 8, "cosine")
print(len(next(storage.load()).ids), len(storage.lexical("kettles", 100)))
for write in (
    lambda: storage.remove(["id 1"]),
    lambda: storage.copy_to(path.with_name("copy.db")),
    lambda: Storage(path.with_name("new.db"), 8, "cosine"),
    lambda: Storage(path.with_name("old.db"), 8, "cosine"),
):
    try:
        write()
    except StoreError as error:
        print(error)
print(len(next(storage.load()).ids))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs the modes of files")
@pytest.mark.parametrize("logged", [True, False])
def test_a_copy_in_a_read_only_folder_is_searched(path: Path, logged: bool) -> None:
    storage = Storage(path, 8, "cosine")
    storage.put(some())
    with tempfile.TemporaryDirectory() as name:  # not tmp_path: only its owner may enter
        folder = Path(name)
        storage.copy_to(folder / "index.db")
        storage.close()
        if not logged:
            forget_changes(folder / "index.db")
        make_format_1(folder / "old.db")
        folder.chmod(0o555)
        for file in folder.iterdir():
            file.chmod(0o444)
        command = [sys.executable, "-c", READ_ONLY, str(folder / "index.db")]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        finally:
            folder.chmod(0o755)
    first, *errors, last = done.stdout.splitlines()
    assert first == "60 60"
    assert "index.db: cannot write the store: attempt to write a readonly database" in errors[0]
    assert "copy.db: cannot write the store: unable to open" in errors[1]
    assert "new.db: cannot open the store: unable to open" in errors[2]
    assert "old.db has format 1 and is read-only" in errors[3]
    assert last == "60"


CLOSED = """
import os, sys
from pathlib import Path
from conduit_lab.core.errors import StoreError
from conduit_lab.vectors.store import VectorStore
if os.geteuid() == 0:
    os.seteuid(65534)  # root may write everywhere
path = Path(sys.argv[1])
with VectorStore(path=path) as store:
    words = store.search("kettle", mode="lexical")
    print(len(store), [hit.id for hit in store.search([1, 0])], len(words))
    writes = lambda: store.add("c", [1, 0]), lambda: store.delete("a"), lambda: store.backup(path)
    for write in writes:
        try:
            write()
        except StoreError as error:
            print(error)
    print(len(store))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs the modes of files")
@pytest.mark.parametrize("file_mode", [0o444, 0o644])
def test_a_closed_store_in_a_folder_that_cannot_be_written_is_searched(file_mode: int) -> None:
    with tempfile.TemporaryDirectory() as name:  # not tmp_path: only its owner may enter
        folder = Path(name)
        with VectorStore(2, path=folder / "index.db") as store:
            store.add_many(["a", "b"], [[1, 0], [1, 1]], contents=["kettle", "kettles"])
        content = (folder / "index.db").read_bytes()
        assert content[18:20] == b"\2\2"
        (folder / "index.db").chmod(file_mode)
        folder.chmod(0o555)
        command = [sys.executable, "-c", CLOSED, str(folder / "index.db")]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        finally:
            folder.chmod(0o755)
        assert [file.name for file in folder.iterdir()] == ["index.db"]
        assert (folder / "index.db").read_bytes() == content
    first, *errors, last = done.stdout.splitlines()
    assert first == "2 ['a', 'b'] 2"
    assert all(
        "index.db: cannot write the store: attempt to write a readonly database" in error
        for error in errors[:2]
    )
    assert all(r"store.save_to(path)" in error for error in errors[:2])
    assert len(errors) == 3
    assert last == "2"


@pytest.mark.skipif(sys.platform == "win32", reason="needs the modes of files")
def test_a_store_that_is_read_where_it_cannot_be_written_tells_that_it_changed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with VectorStore(2, path=path) as store:
        store.add("a", [1, 0])
    with monkeypatch.context() as patch:
        patch.setattr(storage_module, "can_write", lambda _: False)
        reader = VectorStore(path=path)
    assert [hit.id for hit in reader.search([1, 0])] == ["a"]
    with VectorStore(path=path) as store:
        store.add("b", [1, 0])
    with pytest.raises(
        StoreError, match=r"index\.db was changed while it was open for reading: open it again"
    ):
        reader.search([1, 0])
    reader.close()


KILLED = """
import os, sys
from conduit_lab.vectors.store import VectorStore
store = VectorStore(2, path=sys.argv[1])
store.add_many(["a", "b"], [[1, 0], [1, 1]], contents=["kettle", "kettles"])
os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs the modes of files")
@pytest.mark.parametrize("left", ["log and wal-index", "log", "empty log"])
def test_a_killed_store_in_a_folder_that_cannot_be_written_is_searched_or_says_why_not(
    left: str,
) -> None:
    with tempfile.TemporaryDirectory() as name:  # not tmp_path: only its owner may enter
        folder = Path(name)
        if left == "empty log":
            VectorStore(2, path=folder / "index.db").close()
            (folder / "index.db-wal").touch()
        else:
            subprocess.run([sys.executable, "-c", KILLED, str(folder / "index.db")], check=False)
            assert (folder / "index.db-wal").stat().st_size > 0
        if left == "log":
            (folder / "index.db-shm").unlink()
        folder.chmod(0o555)
        for file in folder.iterdir():
            file.chmod(0o444)
        command = [sys.executable, "-c", CLOSED, str(folder / "index.db")]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        finally:
            folder.chmod(0o755)
    if left == "log":
        assert (
            "its last changes are still in its write-ahead log, index.db-wal"
            in done.stderr.splitlines()[-1]
        )
    else:
        assert done.stdout.splitlines()[0] == (
            "0 [] 0" if left == "empty log" else "2 ['a', 'b'] 2"
        )
