"""``penstock config check`` finds what ``penstock run`` would refuse; a look that could not be whole ends with 3."""

import pytest

from tests.cli.conftest import Project

APP = """
from penstock import App

app = App("shop")


@app.listener("paid")
async def note(paid: object) -> None: ...
"""
OF_A_STREAM = '[relays.a]\nsource = "stream:paid"\ntarget = "local"\n'


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ('[relays.a]\ntarget = "nowhere"', "there is no event store 'nowhere'"),
        ('[relays.a]\nsource = "nowhere"', "there is no event store 'nowhere'"),
        ('[relays.a]\ntarget = "local"', "relay 'a': source and target are both 'local'"),
        ('[relays.a]\nsource = "stream:"\ntarget = "local"', "relay 'a': source 'stream:' names no stream"),
        ('[relays.a]\nsource = "stream:paid"', "relay 'a': from a stream it goes into a store"),
        ("[relays.a]\narchive = true", "relay 'a': archive= reads what was archived of a stream"),
        (f'{OF_A_STREAM}on_failure = "park"', "relay 'a': from a stream, on_failure is"),
        (f'{OF_A_STREAM}mode = "on_demand"', "relay 'a': from a stream, mode is 'background'"),
        (f'{OF_A_STREAM}keep = "5 days"', "relay 'a': keep= deletes from a store"),
        (f'{OF_A_STREAM}categories = ["order"]', "relay 'a': streams= and categories= choose"),
        ('[stores.streams]\nurl = "sqlite:///other.db"', "'streams' is what relays call the streams"),
    ],
)
def test_what_run_refuses_is_found_beforehand_in_the_same_words(
    settings: str, says: str, bare: Project
) -> None:
    """With exit code 1, and nothing is made by looking for it."""
    bare.write("app.py", APP)
    bare.write("penstock.toml", settings)
    checked = bare("config", "check")
    assert (checked.code, says in checked.err) == (1, True), checked
    assert not (bare.folder / ".penstock").exists()
    ran = bare("run", "--until-idle")
    assert (ran.code, says in ran.err) == (1, True), ran


def test_all_that_is_wrong_with_relays_is_named_at_once(bare: Project) -> None:
    """Each relay by its name, also where the mistake is a store's name."""
    bare.write("penstock.toml", '[relays.a]\ntarget = "shared"\n[relays.b]\narchive = true\n')
    problems = bare("config", "check", "--json").error["facts"]["problems"]
    assert [problem.split(":")[0] for problem in sorted(problems)] == ["relay 'a'", "relay 'b'"]


def test_a_relay_that_code_declares_is_judged_with_the_code(bare: Project) -> None:
    """With --app what code says of it counts; the lists, which load no code, do not refuse it in any case."""
    bare.write("app.py", f'{APP}\napp.relay("a", source="stream:paid", target="local")\n')
    bare.write("penstock.toml", "[relays.a]\narchive = true\n")
    alone = bare("config", "check")
    assert (alone.code, "--app" in alone.err) == (1, True), alone
    assert bare("config", "check", "--app", "app").code == 0
    assert bare("store", "append", "paid", "{}").code == 0
    for words in ("relays list", "projections list", "status"):
        ending = bare(*words.split())
        assert ending.code == 0, (words, ending)

    bare.write("penstock.toml", '[relays.a]\non_failure = "park"\n')
    assert bare("config", "check").code == 0
    assert "on_failure is" in bare("config", "check", "--app", "app").err
    told = bare("relays", "list", "--app", "app")
    assert (told.code, "on_failure is" in told.err) == (3, True), told


def test_a_status_that_is_not_whole_ends_as_the_lists_do(bare: Project) -> None:
    """A store that is away: all else is shown, a warning names the store, and the exit code is 3."""
    bare.write("penstock.toml", '[stores.away]\nurl = "postgresql://127.0.0.1:1/x"\n')
    for words in ("status", "projections list", "relays list", "replays list"):
        ending = bare(*words.split(), "--json")
        [problem] = ending.document["problems"]
        assert (ending.code, problem.startswith("store 'away': ")) == (3, True), (words, ending)
    told = bare("status", "--json").document
    assert told["away"] == told["problems"] != []
    people = bare("status")
    assert (people.code, "Warning: store 'away'" in people.err) == (3, True), people
