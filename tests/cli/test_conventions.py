"""Every command keeps the same conventions: exit codes, --json, --yes, --dry-run, errors that name the remedy."""

import json
import uuid

import pytest

from penstock.cli import main
from tests.cli.cases import Case
from tests.cli.command_lines import CASES
from tests.cli.conftest import Project, fail, order, place
from tests.cli.replaying import bring_to

STORES = """
[stores.other]
url = "sqlite:///other.db"

[stores.away]
url = "postgresql://127.0.0.1:1/nowhere"
"""
REMOVING = ("streams purge", "streams trim", "streams delete", "groups reset", "groups delete")


def prepare(project: Project, given: str) -> None:
    """Bring about what a case needs."""
    if given.startswith("replay"):
        bring_to(project, given.removeprefix("replay").strip())
        return
    if "archive" in given:
        project.write("penstock.toml", f"[archive]\ndriver = 'files'\nurl = 'kept-{uuid.uuid4().hex}'\n")
        place(project, "3", "4")
        assert project("archive", "run", "--all", "--force", "--yes").code == 0
    if "store" in given or given == "away":
        project.write("penstock.toml", STORES)
    if "store" in given:
        for name in ("1", "2"):
            body = order(name)
            words = ["store", "append", "order.placed", body, "--id", f"event-{name}", "--header", "a=b"]
            assert project(*words).code == 0
        assert project("store", "export", "kept.jsonl").code == 0
        return
    if "nothing" not in given:
        (fail if given.startswith(("failed", "broken")) else place)(project, "1", "2")
    if "no app" in given:
        (project.folder / "app.py").unlink()
    if given == "broken":
        project.write("broken", "")


@pytest.mark.covers("OPS-5")
@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case.words} ({case.given}{', input' if case.stdin else ''})"
)
def test_a_command_ends_with_the_same_code_for_people_and_programs(case: Case, shop: Project) -> None:
    """Each command, once for people and once with --json: the code is the same, and stdout is one document."""
    prepare(shop, case.given)
    people = shop(*words(shop, case), stdin=case.stdin)
    assert people.code == case.code, people
    if case.words.startswith(
        (
            "init first",
            "archive",
            "failed retry",
            "failed flush",
            "failed edit",
            "run",
            "listen",
            "emit",
            "store",
            "db",
            "replays",
            *REMOVING,
        )
    ):
        reset(shop)
        prepare(shop, case.given)
    programs = shop(*words(shop, case), "--json", stdin=case.stdin)
    assert programs.code == case.code, programs

    documents = programs.lines
    assert documents, "nothing on stdout"
    assert {document["penstock"] for document in documents} == {1}
    assert all("command" in document for document in documents)
    for key in case.keys:
        assert key in documents[0], key
    if case.code in (1, 2) and not case.keys:
        [document] = documents
        assert document["error"].keys() == {"type", "message", "facts", "did_you_mean", "remedy"}
        assert document["error"]["message"]
        assert "Error: " in people.err
        assert people.out == "" or "--yes" in people.err, "only a plan that asks for a yes is shown"
    assert "Traceback" not in people.err + programs.err


def words(project: Project, case: Case) -> list[str]:
    """The command line, with the id of a failed message where it says so."""
    if "{id}" not in case.words:
        return case.words.split()
    [item, *_] = project("failed", "list", "--json").document["items"]
    return case.words.replace("{id}", item["entry_id"]).split()


def reset(project: Project) -> None:
    """A namespace and a folder as if nothing had happened yet."""
    name = f"{project.environ['PENSTOCK_NAMESPACE']}x"
    project.environ["PENSTOCK_NAMESPACE"] = name
    project.patch.setenv("PENSTOCK_NAMESPACE", name)
    for left in ("broken", "penstock.toml", "first/app.py", "first/penstock.toml", "kept.jsonl", "new.jsonl"):
        (project.folder / left).unlink(missing_ok=True)
    for copy in (project.folder / ".penstock").glob("*.replay*"):
        copy.unlink()
    for database in (".penstock/events.db", "other.db"):
        for part in ("", "-wal", "-shm"):
            (project.folder / f"{database}{part}").unlink(missing_ok=True)
    from tests.cli.conftest import SHOP

    project.write("app.py", SHOP)


@pytest.mark.covers("OPS-5")
def test_every_command_is_in_the_table(shop: Project) -> None:
    """No command escapes the table above (but the demo, which plays for minutes)."""
    covered = {" ".join(word for word in case.words.split() if not word.startswith("-")) for case in CASES}
    for command in commands(shop):
        assert command == "demo" or any(f"{line} ".startswith(f"{command} ") for line in covered), command


def commands(project: Project) -> list[str]:
    """Every command that help shows."""
    nouns = {
        "archive",
        "streams",
        "groups",
        "failed",
        "history",
        "listeners",
        "scheduled",
        "store",
        "projections",
        "relays",
        "replays",
        "db",
        "server",
        "config",
    }
    found: list[str] = []
    for noun in ("", *sorted(nouns)):
        shown = project(*noun.split(), "--help").out.partition("Commands")[2]
        rows = [line.strip("│ ") for line in shown.splitlines() if line.startswith("│ ") and line[2] != " "]
        found += [f"{noun} {row.split()[0]}".strip() for row in rows if row.split()[0] not in nouns]
    assert len(found) > 15
    return found


@pytest.mark.parametrize(
    "words",
    [
        ["--json", "streams", "list"],
        ["streams", "--json", "list"],
        ["streams", "list", "--json"],
    ],
)
def test_global_options_stand_before_or_after_the_command(words: list[str], shop: Project) -> None:
    """--json means the same at both ends (and nothing in the middle)."""
    ending = shop(*words)
    if words[1] == "--json":
        assert ending.code == 2
    else:
        assert ending.document == {"penstock": 1, "command": "streams list", "items": [], "next": None}


def test_the_app_may_be_named_before_or_after_the_command(shop: Project) -> None:
    """--app and --config are global, too."""
    for words in (
        ["-a", "app:app", "listeners", "list", "--json"],
        ["listeners", "list", "--json", "-a", "app"],
    ):
        [item] = shop(*words).document["items"]
        assert item["event"] == "order.placed"


def test_an_unknown_command_or_option_is_answered_with_the_nearest(shop: Project) -> None:
    """A slip of the finger costs one look."""
    assert "Did you mean streams" in shop("strems", "list").err
    assert shop("streams", "lst", "--json").error["did_you_mean"] == ["list"]
    assert shop("streams", "list", "--pol", "x", "--json").error["did_you_mean"][0] == "--pool"


def test_an_unknown_name_is_answered_with_the_nearest(shop: Project) -> None:
    """The error has the facts, and what was probably meant."""
    fail(shop, "1")
    error = shop("groups", "show", "order.placed", "biling", "--json").error
    assert error["did_you_mean"] == ["billing"]
    assert error["facts"] == {"stream": "order.placed", "group": "biling"}
    assert "Did you mean order.placed?" in shop("streams", "show", "oder.placed").err


def test_an_error_of_the_library_keeps_its_facts(shop: Project) -> None:
    """Type, message and facts are those of the Python API."""
    error = shop("run", "--idle-exit", "5", "--json").error
    assert error["type"] == "MalformedDurationError"
    assert error["facts"] == {"text": "5", "suggestion": "5s"}
    assert error["did_you_mean"] == ["5s"]


@pytest.mark.parametrize(
    "command", ["streams list", "groups list", "failed list", "status", "streams tail s --no-follow"]
)
def test_a_server_that_is_away_is_a_short_error(command: str, shop: Project) -> None:
    """No traceback: what cannot be reached, and what to do; --debug has the rest."""
    shop.patch.setenv("PENSTOCK_STREAMS", "redis://user:secret@127.0.0.1:1")
    ending = shop(*command.split())
    assert ending.code == 1
    assert "127.0.0.1:1" in ending.err
    assert "PENSTOCK_STREAMS=" in ending.err
    assert "secret" not in ending.err
    assert "Traceback" not in ending.err
    assert "Traceback" in shop(*command.split(), "--debug").err


def test_commands_that_only_look_load_no_code(shop: Project) -> None:
    """A broken app is no reason not to see what is in the streams; naming it with --app loads it."""
    place(shop, "1")
    shop.write("app.py", "raise SystemError('from penstock import nothing')")
    shop.write("penstock.toml", 'app = "app:app"\n')
    for command in (
        "streams list",
        "streams show order.placed",
        "streams tail order.placed --no-follow",
        "groups list",
        "failed list",
        "failed flush --dry-run",
        "status",
        "config show",
        "config check",
    ):
        assert shop(*command.split()).code == 0, command
    ending = shop("streams", "list", "--app", "app")
    assert ending.code == 1
    assert "SystemError" in ending.err


def test_naming_the_app_shows_what_its_code_registers(shop: Project) -> None:
    """With --app, streams and groups of the declarations are listed before they exist."""
    items = shop("groups", "list", "--app", "app", "--json").document["items"]
    assert [(item["name"], item["exists"]) for item in items] == [("billing", False), ("mail", False)]
    assert "not yet" in shop("streams", "list", "-a", "app").out


def test_help_is_there_for_everything(shop: Project) -> None:
    """Each noun alone shows its verbs, and every command explains itself."""
    assert shop("streams").code == 2
    assert "tail" in shop("streams").out
    assert shop().code == 2
    for command in commands(shop):
        ending = shop(*command.split(), "--help")
        assert ending.code == 0
        assert "Usage: penstock" in ending.out
        assert "--json" in ending.out


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Which penstock this is."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("penstock 0.")


def test_times_and_ids_are_written_as_in_the_python_api(shop: Project) -> None:
    """Entry ids as the server writes them, times in RFC 3339, UTC, with microseconds."""
    fail(shop, "1")
    [item] = shop("failed", "list", "--json").document["items"]
    assert item["entry_id"].partition("-")[0].isdigit()
    assert len(item["last_failed"]) == len("2026-01-31T12:00:00.000000Z")
    assert item["last_failed"].endswith("Z")


@pytest.mark.parametrize(
    ("alias", "code"),
    [
        (["list"], 0),
        (["streamer:list", "--compact"], 0),
        (["failed:list"], 0),
        (["streamer:failed:list", "--compact"], 0),
        (["failed:retry", "--all"], 0),
        (["failed:flush", "--yes"], 0),
        (["streamer:archive", "--streams=order.placed", "--older_than=60 min"], 1),
        (["archive:restore", "--all", "--yes"], 1),
        (["streamer:archive:restore", "--stream=order.placed", "--id=1-1"], 1),
        (["streamer:listen", "order.placed", "--last_id", "beginning", "--once"], 0),
    ],
)
def test_names_of_laravel_streamer_work(alias: list[str], code: int, shop: Project) -> None:
    """Whoever comes from there finds the commands under their names; help shows ours only."""
    place(shop, "1")
    assert shop(*alias).code == code
    assert ":" not in shop("--help").out.partition("Commands")[2].replace(": ", "")


def test_json_is_one_document_whatever_is_in_the_payload(shop: Project) -> None:
    """Unicode, quotes and control characters of a payload leave the document intact."""
    body = {"order_id": 'ü"\\\u001b[31m\u2028', "total_cents": 5}
    assert shop("emit", "order.placed", json.dumps(body)).code == 0
    [line] = shop("streams", "tail", "order.placed", "--no-follow", "--json").lines
    assert line["payload"] == body
    assert "\x1b" not in shop("streams", "tail", "order.placed", "--no-follow").out
