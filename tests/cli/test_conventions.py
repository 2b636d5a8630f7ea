"""Every command keeps the same conventions: exit codes, --json, --yes, --dry-run, errors that name the remedy."""

import json
import uuid
from dataclasses import dataclass, field

import pytest

from penstock.cli import main
from tests.cli.conftest import Project, fail, order, place

ORDERS = f"{order('1')}\n{order('2')}\n"


@dataclass(frozen=True)
class Case:
    """A command line, what was there before it, and how it ends."""

    words: str
    code: int
    given: str = "orders"
    """``orders``: two are in the stream; ``failed``: both failed; ``nothing``; ``no app``; ``archive``: two more are in
    an archive."""
    stdin: str = ""
    keys: tuple[str, ...] = field(default=())
    """What the JSON document has, besides what every document has."""


CASES = [
    # looking
    Case("streams list", 0, keys=("items",)),
    Case("streams list", 0, "nothing", keys=("items",)),
    Case("streams list --pool nowhere", 2),
    Case("streams show order.placed", 0, keys=("stream", "groups", "cursors")),
    Case("streams show oder.placed", 1),
    Case("streams show", 2),
    Case("streams tail order.placed --no-follow", 0, keys=("entry_id", "payload")),
    Case("streams tail order.placed --from nowhere", 2),
    Case("streams tail order.placed --from beginning --last 3", 2),
    Case("groups list", 0, keys=("items",)),
    Case("groups list --stream order.placed", 0, keys=("items",)),
    Case("groups list --stream oder.placed", 1),
    Case("groups show order.placed billing", 0, "failed", keys=("group", "consumers", "oldest_pending")),
    Case("groups show order.placed biling", 1, "failed"),
    Case("groups show order.placed", 2),
    Case("listeners list", 0, keys=("items",)),
    Case("listeners list --compact", 0, keys=("items",)),
    Case("listeners list", 1, "no app"),
    Case("status", 0, keys=("servers", "streams", "groups", "workers", "failed", "retrying")),
    Case("status", 0, "no app", keys=("servers",)),
    Case("config show", 0, keys=("items", "file")),
    Case("config check", 0, keys=("valid",)),
    Case("--config missing.toml config check", 1),
    Case("--app no.such:app config show", 1),
    # emitting
    Case('emit order.placed {"order_id":"9"}', 0, keys=("id", "stream", "entry_id")),
    Case("emit order.placed {}", 2),
    Case("emit order.placed {", 2),
    Case("emit order.placed - --id 1-1", 2),
    Case("emit order.placed null --skip-bad", 2),
    Case('emit order.placed {"order_id":"9"} --id 1-1', 1),
    Case('emit order.placed {"order_id":"9"} --id never', 2),
    Case('emit order.placed {"order_id":"9"} --header nothing', 2),
    Case("emit order.placed -", 0, stdin=ORDERS, keys=("written", "bad", "unknown", "problems")),
    Case("emit order.placed -", 3, stdin=f"{ORDERS}oh no\n", keys=("written", "stopped")),
    Case("emit order.placed - --skip-bad", 3, stdin=f"oh no\n{ORDERS}", keys=("written", "bad")),
    Case("emit order.placed -", 2, stdin="oh no\n", keys=("written", "bad")),
    # working
    Case("run --until-idle", 0, keys=("event",)),
    Case("run --until-idle --only billing", 0, keys=("event",)),
    Case("run --until-idle --only group:billing", 0, keys=("event",)),
    Case("run --until-idle --only group:biling", 1),
    Case("run --only projection:totals", 2),
    Case("run --until-idle --idle-exit 1s", 2),
    Case("run --reload --until-idle", 2),
    Case("run --idle-exit 5", 2),
    Case("run --processes 0", 2),
    Case("archive restore --all --receiver charge --yes", 2, "archive"),
    Case("groups claim nobody --from 2 --to 1 --yes", 1),
    Case("groups claim billing --from 2 --to consumer-2", 2),
    Case("groups claim mail --from 2 --to 1", 1),
    Case("groups claim mail --from 2 --to 1 --dry-run", 0, "failed", keys=("total", "dry_run")),
    Case("groups claim mail --from 2 --to 1 --yes", 0, "failed", keys=("total", "dry_run")),
    Case("run --processes 3-2", 2),
    Case("run --processes many", 2),
    Case("run --processes 1-2 --until-idle", 2),
    Case("run --processes 1-2 --reload", 2),
    Case("run no.such", 1),
    Case("run app.py", 2),
    Case("run", 1, "no app"),
    Case("listen order.placed --once --from beginning", 0, keys=("outcome", "listener")),
    Case("listen order.placed --group billing --once", 0, keys=("outcome",)),
    Case("listen --all --group billing --once", 0, keys=("outcome",)),
    Case("listen order.placed --once --from beginning", 0, "no app", keys=("payload",)),
    Case("listen", 2),
    Case("listen order.placed --all", 2),
    Case("listen order.placed --reclaim 5s", 2),
    Case("listen order.placed --consumer ann", 2),
    Case("listen order.placed --max-attempts 3", 2),
    Case("listen order.placed --keep-alive --max-attempts 0", 2),
    Case("listen order.placed --once --idle-exit 1s --from beginning", 2),
    Case("listen order.placed --once", 2),
    Case("listen order.placed --group billing --from beginning --once", 2, "failed"),
    Case("listen nothing.known --once --from beginning", 1),
    Case("listen order.placed --group biling --once", 1),
    Case("listen --all --once --from beginning", 1, "nothing, no app"),
    Case("listen order.placed --purge --once --from beginning", 2),
    Case("listen order.placed --group billing --purge --once", 0, keys=("outcome",)),
    # removing
    Case("housekeeping now", 2),
    Case("streams purge", 0, keys=("items", "removed", "dry_run")),
    Case("streams purge", 0, "nothing", keys=("items", "removed")),
    Case("streams purge --dry-run", 0, keys=("items", "removed", "dry_run")),
    Case("streams purge order.placed --force", 1),
    Case("streams purge --streams order.placed --force --yes", 0, keys=("items", "removed")),
    Case("streams purge oder.placed --yes", 1),
    Case("streams purge --older-than 5", 2),
    Case("streams trim order.placed --keep 1 --force --yes", 0, keys=("items", "removed")),
    Case("streams trim order.placed --keep 1 --force", 1),
    Case("streams trim order.placed --below 1-1", 0, keys=("items", "removed")),
    Case("streams trim order.placed --keep 1 --dry-run", 0, keys=("items", "removed", "dry_run")),
    Case("streams trim order.placed", 2),
    Case("streams trim order.placed --keep 1 --below 1-1", 2),
    Case("streams trim order.placed --keep -1", 2),
    Case("streams trim order.placed --below here", 2),
    Case("streams trim oder.placed --keep 1", 1),
    Case("streams delete order.placed", 1),
    Case("streams delete order.placed --yes", 0, keys=("deleted", "dry_run")),
    Case("streams delete order.placed --dry-run", 0, keys=("deleted", "dry_run")),
    Case("streams delete oder.placed --yes", 1),
    Case("groups reset billing --stream order.placed --to beginning", 1, "failed"),
    Case("groups reset billing --stream order.placed --to beginning --yes", 0, "failed", keys=("group",)),
    Case("groups reset billing --stream order.placed --to new --dry-run", 0, "failed", keys=("group",)),
    Case("groups reset biling --stream order.placed --to new --yes", 1, "failed"),
    Case("groups reset billing --stream order.placed --to nowhere --yes", 2, "failed"),
    Case("groups reset billing --stream order.placed --yes", 2, "failed"),
    Case("groups delete billing --stream order.placed", 1, "failed"),
    Case("groups delete billing --stream order.placed --yes", 0, "failed", keys=("pending",)),
    Case("groups delete billing --stream order.placed --dry-run", 0, "failed", keys=("pending",)),
    Case("groups delete mail --stream order.placed --yes", 0, keys=("pending",)),
    Case("groups delete biling --stream order.placed --yes", 1, "failed"),
    # partitions
    Case("streams repartition order.placed 4", 1, "nothing"),
    Case("streams repartition order.placed 4 --yes", 1, "nothing"),
    Case("streams repartition order.placed 4 --dry-run", 0, keys=("partitions", "wanted", "undrained")),
    Case("streams repartition order.placed 4 --yes", 1),
    Case("streams repartition oder.placed 4 --yes", 1),
    Case("streams repartition order.placed 0 --yes", 2),
    Case("streams repartition order.placed", 2),
    Case("streams repartition order.placed 4 --abort", 2),
    Case("streams repartition order.placed --abort --yes", 1),
    Case("streams repartition order.placed 4 --timeout 5", 2),
    # one entity, and what will be
    Case("history show order.placed 1", 0, keys=("events", "identifier", "state")),
    Case("history show order.placed,order.paid 1 --events", 0, keys=("items",)),
    Case("history show order.placed nobody", 0, "nothing", keys=("state",)),
    Case("history show order.placed 1 --until 2026-01-01T00:00:00Z --fold", 0, keys=("state",)),
    Case("history show order.placed", 2),
    Case("history show , 1", 2),
    Case("history show order.placed 1 --events --fold", 2),
    Case("history show order.placed 1 --until 2026-01-01", 2),
    Case("scheduled list", 0, keys=("items", "recurring")),
    Case("scheduled list --stream order.placed --limit 1", 0, "nothing", keys=("items", "recurring")),
    Case("scheduled list --limit 0", 2),
    Case("scheduled cancel nothing --yes", 1),
    Case("scheduled cancel", 2),
    # failed messages
    Case("failed list", 0, "failed", keys=("items",)),
    Case("failed list", 0, keys=("items",)),
    Case("failed list --compact --limit 1", 0, "failed", keys=("items",)),
    Case("failed list --state failed --receiver charge", 0, "failed", keys=("items",)),
    Case("failed list --state dead", 2),
    Case("failed list --id what", 2),
    Case("failed list --since yesterday", 2),
    Case("failed list --after nonsense", 2),
    Case("failed list --stream oder.placed", 1, "failed"),
    Case("failed show 1-1", 1, "failed"),
    Case("failed show what", 2, "failed"),
    Case("failed retry", 2, "failed"),
    Case("failed retry --all --group billing", 2, "failed"),
    Case("failed retry --all", 0, "failed", keys=("succeeded", "failed", "kept", "busy", "items")),
    Case("failed retry --all", 0, keys=("total",)),
    Case("failed retry --all --dry-run", 0, "failed", keys=("items", "total", "runnable", "dry_run")),
    Case("failed retry --all --yes", 0, "failed", keys=("succeeded",)),
    Case("failed retry --all --purge", 0, "failed", keys=("succeeded",)),
    Case("failed retry --group billing --receiver charge", 0, "failed", keys=("succeeded",)),
    Case("failed retry --receiver nobody", 1, "failed", keys=("total",)),
    Case("failed retry --all", 3, "broken", keys=("failed", "items")),
    Case("failed list --state parked", 0, "failed", keys=("items",)),
    Case("failed parked", 0, "failed", keys=("items",)),
    Case("failed parked --stream oder.placed", 1, "failed"),
    Case("failed unpark", 2, "failed"),
    Case("failed unpark --all --key 1", 2, "failed"),
    Case("failed unpark --all", 0, "failed", keys=("items", "events", "dry_run")),
    Case("failed unpark --key 1 --dry-run", 1, "failed", keys=("items",)),
    Case("failed list --by-error", 0, "failed", keys=("items", "beyond")),
    Case("failed list --by-error", 0, keys=("items",)),
    Case("failed list --by-error --compact", 2, "failed"),
    Case("failed retry --all --stop-on-failure --why mended", 0, "failed", keys=("succeeded", "left")),
    Case("failed retry --all --stop-on-failure", 3, "broken", keys=("failed", "left")),
    Case("failed edit 1-1 --why w --set a=1", 1, "failed"),
    Case("failed edit 1-1 --why w", 2, "failed"),
    Case("failed edit 1-1 --set a=1", 2, "failed"),
    Case("failed edit what --why w --set a=1", 2, "failed"),
    Case("failed edit 1-1 --why w --set a=b", 2, "failed"),
    Case("failed edit 1-1 --why w --set a", 2, "failed"),
    Case("failed edit 1-1 --why w --body missing.json", 1, "failed"),
    Case("failed edit 1-1 --why w --set a=1 --stream oder.placed", 1, "failed"),
    Case("failed edit {id} --why w --set total_cents=5", 1, "failed"),
    Case(
        "failed edit {id} --why w --set total_cents=5 --yes", 0, "failed", keys=("outcome", "before", "after")
    ),
    Case("failed edit {id} --why w --set total_cents=5 --dry-run", 0, "failed", keys=("outcome", "dry_run")),
    Case("failed edit {id} --why w --body - --yes --retry", 0, "failed", order("7"), keys=("retried",)),
    Case("failed edit {id} --why w --body - --yes --retry", 3, "broken", order("7"), keys=("retried",)),
    Case("failed edit {id} --why w --body - --yes", 2, "failed", "{}"),
    Case("failed edit {id} --why w --set order_id.x=1 --yes", 2, "failed"),
    Case("failed log", 0, keys=("items",)),
    Case("failed log --stream order.placed --limit 1", 0, "failed", keys=("items",)),
    Case("failed log --stream oder.placed", 1, "failed"),
    Case("failed log --limit 0", 2),
    Case("failed flush", 1, "failed"),
    Case("failed flush --dry-run", 0, "failed", keys=("items", "total", "dry_run")),
    Case("failed flush --yes", 0, "failed", keys=("flushed",)),
    Case("failed flush --yes --dry-run", 0, "failed", keys=("items", "dry_run")),
    Case("failed flush", 0, keys=("total",)),
    # the archive
    Case("archive run --all", 0, "archive", keys=("items", "archived", "failed", "dry_run")),
    Case("archive run --streams order.placed --older-than 5s", 0, "archive", keys=("items",)),
    Case("archive run --streams nowhere", 0, "archive", keys=("items",)),
    Case("archive run --all --dry-run", 0, "archive", keys=("items", "dry_run")),
    Case("archive run --all --force", 1, "archive"),
    Case("archive run --all --force --yes", 0, "archive", keys=("items",)),
    Case("archive run --all --streams order.placed", 2, "archive"),
    Case("archive run --all --older-than 5", 2, "archive"),
    Case("archive run", 2, "archive"),
    Case("archive run --all", 1),
    Case("archive list", 0, "archive", keys=("items",)),
    Case("archive list --stream order.placed --limit 1", 0, "archive", keys=("items",)),
    Case("archive list --after 1-1/x", 2, "archive"),
    Case("archive list --stream order.placed --after x", 2, "archive"),
    Case("archive list", 1),
    Case("archive show 1-1", 1, "archive"),
    Case("archive show", 2, "archive"),
    Case("archive restore --all", 1, "archive"),
    Case("archive restore --all --yes", 0, "archive", keys=("items", "restored", "failed", "omitted")),
    Case("archive restore --all --dry-run", 0, "archive", keys=("total", "dry_run")),
    Case("archive restore --stream order.placed --group billing --yes", 0, "archive", keys=("restored",)),
    Case("archive restore --stream order.placed --group biling --yes", 1, "archive"),
    Case("archive restore --stream oder.placed --yes", 1, "archive"),
    Case("archive restore --stream order.placed --id 1-1 --yes", 1, "archive"),
    Case("archive restore --id 1-1 --yes", 2, "archive"),
    Case("archive restore --all --stream order.placed", 2, "archive"),
    Case("archive restore", 2, "archive"),
    Case("listen order.placed --archive --once --from beginning", 2, "archive"),
    Case("listen order.placed --group billing --archive --once", 0, "archive", keys=("outcome",)),
    Case("failed retry --all --archive", 0, "failed, archive", keys=("succeeded",)),
    # the embedded server is not used here
    Case("server status", 1),
    Case("server start", 1),
    Case("server stop --yes", 1),
    # a first program
    Case("init first", 0, keys=("items", "app")),
    Case("init first --dry-run", 0, keys=("items", "dry_run")),
    Case("init .", 1),
    # no such thing
    Case("sreams list", 2),
    Case("streams lst", 2),
    Case("streams list --jsno", 2),
    Case("streams list too much", 2),
    Case("--log-level loud run --until-idle", 1),
]


REMOVING = ("streams purge", "streams trim", "streams delete", "groups reset", "groups delete")


def prepare(project: Project, given: str) -> None:
    """Bring about what a case needs."""
    if "archive" in given:
        project.write("penstock.toml", f"[archive]\ndriver = 'files'\nurl = 'kept-{uuid.uuid4().hex}'\n")
        place(project, "3", "4")
        assert project("archive", "run", "--all", "--force", "--yes").code == 0
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
    for left in ("broken", "penstock.toml", "first/app.py", "first/penstock.toml"):
        (project.folder / left).unlink(missing_ok=True)
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
    assert "Did you mean streams?" in shop("strems", "list").err
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
