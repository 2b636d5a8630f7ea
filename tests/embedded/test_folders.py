"""Folders a server may not work in are refused with the reason and the remedy; those that come and go do no harm."""

import os
import shutil
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from penstock.errors import EmbeddedServerError
from penstock.streams.embedded import server_status, stop_server, use_server
from penstock.streams.embedded._folder import data_folder_of, socket_place
from penstock.streams.embedded._mounts import (
    file_system,
    is_shared,
    kind_of_mount,
    mounts_of_bsd,
    mounts_of_linux,
)
from tests.embedded.helpers import NO_LINGER, client, server_pids_of, wait_until

LINUX = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
25 22 0:21 / /home/ann rw,relatime - nfs4 server:/home rw,vers=4.2
26 22 0:33 / /mnt/with\040space rw - fuse.sshfs ann@host: rw
27 22 0:44 / /mnt/c rw,noatime - 9p C:\134 rw
28 25 254:0 /local /home/ann/local rw - ext4 /dev/vda rw
29 22 0:50 / /srv rw - nfs server:/srv rw
30 22 0:51 / /srv rw - tmpfs tmpfs rw
"""
BSD = """
/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
/dev/disk3s5 on /System/Volumes/Data (apfs, local, journaled, nobrowse)
//ann@server/share on /Volumes/share (smbfs, nodev, nosuid, mounted by ann)
server:/exports/my home on /Volumes/home (1) (nfs)
"""


@pytest.mark.parametrize(
    ("folder", "kind", "shared"),
    [
        ("/var/lib/app", "ext4", False),
        ("/home/ann/project", "nfs4", True),
        ("/home/anna/project", "ext4", False),
        ("/home/ann/local/project", "ext4", False),
        ("/mnt/with space/project", "fuse.sshfs", True),
        ("/mnt/c/project", "9p", True),
        ("/srv/project", "tmpfs", False),
    ],
)
def test_linux_says_which_file_system_a_folder_is_on(folder: str, kind: str, shared: bool) -> None:
    """The deepest mount point counts, and of several on one point the latest; shared ones are known as such."""
    found = kind_of_mount(Path(folder), mounts_of_linux(LINUX))
    assert (found, is_shared(found or "")) == (kind, shared)


@pytest.mark.parametrize(
    ("folder", "kind", "shared"),
    [
        ("/System/Volumes/Data/Users/ann", "apfs", False),
        ("/Volumes/share/project", "smbfs", True),
        ("/Volumes/home (1)/project", "nfs", True),
    ],
)
def test_macos_says_which_file_system_a_folder_is_on(folder: str, kind: str, shared: bool) -> None:
    """The same from what ``mount`` prints there."""
    found = kind_of_mount(Path(folder), mounts_of_bsd(BSD))
    assert (found, is_shared(found or "")) == (kind, shared)


def test_this_system_says_which_file_system_a_folder_is_on(tmp_path: Path) -> None:
    """What the tests themselves lie on is known, and not shared."""
    kind = file_system(tmp_path.resolve())
    assert kind
    assert not is_shared(kind)


def on_a_server(_folder: Path) -> str:
    """The file system of a folder that is shared."""
    return "nfs4"


def test_a_folder_that_other_machines_see_is_refused(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No lock would keep two servers apart there; nothing is started, and the error says what to do instead."""
    monkeypatch.setattr("penstock.streams.embedded._folder.file_system", on_a_server)
    with pytest.raises(
        EmbeddedServerError, match=r"other machines may see \(nfs4\).*PENSTOCK_STREAMS=redis://"
    ) as caught:
        use_server(data_folder)
    assert str(data_folder) in str(caught.value)
    assert not (data_folder / "server.lock").exists()


def test_another_users_folder_is_refused(data_folder: Path) -> None:
    """An embedded server serves one user: even root does not start one in somebody else's folder."""
    if os.geteuid() == 0:
        data_folder.mkdir()
        os.chown(data_folder, 65534, -1)
        foreign = data_folder
    else:
        foreign = Path("/")
    with pytest.raises(EmbeddedServerError, match=r"belongs to another user .*PENSTOCK_STREAMS=redis://"):
        use_server(foreign)


def test_a_folder_that_cannot_be_written_is_an_error_that_names_it(data_folder: Path) -> None:
    """Be it that it is read-only, or that a file is in its place."""
    data_folder.parent.joinpath("file").write_text("", encoding="utf-8")
    with pytest.raises(
        EmbeddedServerError, match=r"file cannot be used for a server: .*PENSTOCK_STREAMS=redis://"
    ):
        use_server(data_folder.parent / "file")
    with pytest.raises(EmbeddedServerError, match=r"Not a directory.*PENSTOCK_STREAMS=redis://"):
        use_server(data_folder.parent / "file" / "below")

    data_folder.mkdir()
    said = as_nobody(data_folder) if os.geteuid() == 0 else as_ourselves(data_folder)
    assert f"the data folder {data_folder} cannot be used for a server: Permission denied" in said


def as_ourselves(folder: Path) -> str:
    """What is said about a folder we may not write to."""
    folder.chmod(0o500)
    with pytest.raises(EmbeddedServerError) as caught:
        use_server(folder)
    folder.chmod(0o700)
    return str(caught.value)


def as_nobody(folder: Path) -> str:
    """The same where we are root, whom no mode stops: from a child that is somebody else, owning the folder."""
    os.chown(folder, 65534, -1)
    folder.chmod(0o500)
    reading, writing = os.pipe()
    if os.fork() == 0:
        try:
            for above in reversed(folder.relative_to("/tmp").parents):
                Path("/tmp", above).chmod(stat.S_IMODE(Path("/tmp", above).stat().st_mode) | 0o001)
            os.seteuid(65534)
            with pytest.raises(EmbeddedServerError) as caught:
                use_server(folder)
            os.write(writing, str(caught.value).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as said:
        text = said.read()
    os.wait()
    os.chown(folder, 0, -1)
    folder.chmod(0o700)
    return text


@pytest.fixture
def runtime(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runtime folder of our own, as a login makes one."""
    folder = tmp_path_factory.mktemp("run")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    return folder


def test_the_socket_is_in_the_runtime_folder_where_there_is_one(data_folder: Path, runtime: Path) -> None:
    """Under a name that depends on the data folder alone; one that is not there is passed over."""
    place = socket_place(data_folder_of(data_folder))
    assert place.parent.parent == runtime
    assert place != socket_place(data_folder_of(data_folder / "other"))
    shutil.rmtree(runtime)
    elsewhere = socket_place(data_folder_of(data_folder))
    assert elsewhere.parent.name == place.parent.name
    assert elsewhere.parent.parent != runtime
    elsewhere.parent.rmdir()


def test_a_place_for_the_socket_that_others_can_enter_is_not_used(data_folder: Path, runtime: Path) -> None:
    """Nor a link to somewhere else, nor another user's folder: whoever made them could take our place."""
    folder = data_folder_of(data_folder)
    place = socket_place(folder).parent
    assert place.parent == runtime

    place.chmod(0o755)
    assert socket_place(folder).parent != place
    place.rmdir()
    place.symlink_to(data_folder.parent)
    assert socket_place(folder).parent != place
    place.unlink()
    if os.geteuid() == 0:
        place.mkdir(mode=0o700)
        os.chown(place, 65534, -1)
        assert socket_place(folder).parent != place
        place.rmdir()
    assert socket_place(folder).parent == place


def test_when_no_place_serves_the_error_says_why(
    data_folder: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path too long for a socket, and a folder that is not ours alone."""
    folder = data_folder_of(data_folder)
    name = socket_place(folder).parent.name
    long = runtime / ("x" * 100)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    monkeypatch.setattr("tempfile.tempdir", str(long))
    outside = socket_place(folder).parent
    assert outside == Path("/tmp", name)
    outside.chmod(0o755)
    with pytest.raises(
        EmbeddedServerError,
        match=r"too long for a socket's name \(at most 10[37] bytes\).*only you may enter",
    ):
        socket_place(folder)
    outside.rmdir()


def test_a_long_path_of_the_data_folder_is_no_obstacle(data_folder: Path) -> None:
    """The socket's name does not grow with it."""
    deep = data_folder / ("d" * 120) / ("e" * 120)
    with use_server(deep, linger=NO_LINGER) as use, client(use.url) as server:
        assert server.ping()


def test_a_restart_keeps_the_url(data_folder: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though whoever starts it again sees another runtime folder, as a cron job does: those who wait find it again."""
    with use_server(data_folder, linger=NO_LINGER) as use, client(use.url) as server:
        assert str(runtime) in use.url
        stop_server(data_folder)
        monkeypatch.delenv("XDG_RUNTIME_DIR")
        with use_server(data_folder, linger=NO_LINGER) as again:
            assert again.url == use.url
            assert server.ping()


def test_a_copied_folder_has_a_server_of_its_own(data_folder: Path, tmp_path: Path) -> None:
    """The note about the original's server, which was copied with it, leads nobody astray."""
    copy = tmp_path / "copy"
    with use_server(data_folder, linger=NO_LINGER) as use, client(use.url) as server:
        server.set("a", "original")
        shutil.copytree(data_folder, copy)
        with use_server(copy, linger=NO_LINGER) as other, client(other.url) as copied:
            assert other.url != use.url
            assert copied.get("a") == b"original"
            copied.set("a", "copy")
        assert server.get("a") == b"original"
    assert server_pids_of(copy) == []


def test_a_folder_deleted_under_a_running_server_starts_afresh(data_folder: Path) -> None:
    """The former server, whose data is gone, ends; its users find the new one at the URL they know."""
    with use_server(data_folder, linger=NO_LINGER) as use, client(use.url) as server:
        server.set("a", 1)
        [former] = server_pids_of(data_folder)
        shutil.rmtree(data_folder)
        with use_server(data_folder, linger=NO_LINGER) as again:
            assert again.url == use.url
            assert server.get("a") is None
            wait_until(lambda: former not in server_pids_of(data_folder), "the former server ends")
            use.release()
            assert server.ping()


@pytest.mark.parametrize("linger_s", [0, 0.1])
def test_a_folder_deleted_under_a_running_server_leaves_nothing_running(
    data_folder: Path, linger_s: float
) -> None:
    """As when a temporary folder is removed before its users have left: the watcher ends what nobody finds any more."""
    use = use_server(data_folder, linger=timedelta(seconds=linger_s))
    assert server_pids_of(data_folder)
    shutil.rmtree(data_folder)
    use.release()
    wait_until(lambda: not server_pids_of(data_folder), "the server ends")
    assert not data_folder.exists()


def test_a_folder_moved_under_a_running_server_takes_it_along(data_folder: Path, tmp_path: Path) -> None:
    """Who uses it by its new name joins; a new server at the old place is refused as long as the moved one listens."""
    moved = tmp_path / "moved"
    with use_server(data_folder, linger=NO_LINGER) as use, client(use.url) as server:
        server.set("a", 1)
        data_folder.rename(moved)
        with use_server(moved, linger=NO_LINGER) as joined:
            assert joined.url == use.url
        with pytest.raises(EmbeddedServerError, match=f"{moved} was moved away from {data_folder}"):
            use_server(data_folder, linger=NO_LINGER)
        assert server.get("a") == b"1"
        assert stop_server(moved)
    assert server_status(moved).state == "stopped"


def test_on_windows_everything_imports_and_says_what_to_do(tmp_path: Path) -> None:
    """There is no server for it: using one is an error with the remedy, not an import that fails."""
    code = (
        "import sys, asyncio, subprocess, socket, pathlib, tempfile, penstock.errors\n"
        "sys.modules['fcntl'] = None; sys.platform = 'win32'\n"
        "from penstock.streams import embedded\n"
        "for use in (embedded.use_server, embedded.server_status, embedded.start_server, embedded.stop_server):\n"
        "    try: use(pathlib.Path(sys.argv[1]))\n"
        "    except penstock.errors.EmbeddedServerError as error: print(error)\n"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    told = subprocess.run(
        [sys.executable, "-c", code, tmp_path], check=True, env=environ, capture_output=True, text=True
    )
    lines = told.stdout.splitlines()
    assert len(lines) == 4
    assert all(
        "on Windows use a running server by its URL: PENSTOCK_STREAMS=redis://" in line for line in lines
    )
