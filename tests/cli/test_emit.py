"""`penstock emit`: one event from the command line, or as many as lines come in."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from penstock.streams.embedded import find_binary
from tests.cli.conftest import Project, Running, order


def entries(project: Project, stream: str = "order.placed") -> list[Any]:
    """Everything in a stream."""
    return project("streams", "tail", stream, "--from", "beginning", "--no-follow", "--json").lines


@pytest.mark.covers("EMIT-1")
def test_an_event_class_of_the_app_is_followed(shop: Project) -> None:
    """Body, key and stream are as if the app had emitted it; what does not fit is refused, and nothing is written."""
    assert shop("emit", "order.placed", order("7")).code == 0
    [entry] = entries(shop)
    assert (entry["key"], entry["source"], entry["payload"]) == (
        "7",
        "shop",
        {"order_id": "7", "total_cents": 100},
    )
    refused = shop("emit", "order.placed", '{"order_id": 7}')
    assert refused.code == 2
    assert "Expected `str`, got `int`" in refused.err
    assert len(entries(shop)) == 1


def test_a_new_stream_that_looks_like_another_is_noticed_where_the_event_goes(shop: Project) -> None:
    """A body with a codec that the class has not is no instance of it, and does not go into the stream of the class."""
    shop.write(
        "app.py",
        'from penstock import App, Event\n\napp = App("shop")\n\n\n'
        'class OrderPlaced(Event, name="order.placed", stream="orders"):\n    order_id: str\n\n\n'
        '@app.listener(OrderPlaced, group="mail")\nasync def thank(order: OrderPlaced) -> None: ...\n',
    )
    assert shop("emit", "order.place", "1").code == 0
    placed = shop("emit", "order.placed", "hello", "--codec", "text")
    assert (placed.code, [entry["payload"] for entry in entries(shop)]) == (0, ["hello"])
    assert "stream 'order.placed' is new; did you mean 'order.place'?" in placed.err
    assert "is new" not in shop("emit", "order.placed", '{"order_id": "7"}').err
    assert len(entries(shop, "orders")) == 1


@pytest.mark.covers("EMIT-1", "MSG-2")
def test_without_an_app_any_name_and_body_goes(empty: Project) -> None:
    """Stream, key, headers, kind and place are taken as given; no body is no body."""
    words = [
        "--stream",
        "s",
        "--key",
        "k",
        "--header",
        "a=b=c",
        "--header",
        "d=",
        "--kind",
        "command",
        "--id",
        "5-1",
    ]
    document = empty("emit", "note", '{"a": [1, null]}', *words, "--json").document
    assert (document["stream"], document["entry_id"], document["name"]) == ("s", "5-1", "note")
    assert empty("emit", "note", "--stream", "s").code == 0
    first, second = entries(empty, "s")
    assert (first["key"], first["kind"], first["payload"]) == ("k", "command", {"a": [1, None]})
    assert first["headers"] == {"a": "b=c", "d": ""}
    assert (second["payload"], second["event_id"] != first["event_id"]) == (None, True)


@pytest.mark.parametrize(
    ("codec", "body", "content_type", "payload"),
    [
        ("json", '{"a": 1}', "application/json", {"a": 1}),
        ("msgpack", '{"a": 1}', "application/msgpack", {"a": 1}),
        ("text", "plain words", "text/plain", "plain words"),
        ("bytes", "raw", "application/octet-stream", "cmF3"),
    ],
)
def test_a_codec_may_be_chosen(
    codec: str, body: str, content_type: str, payload: object, empty: Project
) -> None:
    """How the body is written; bytes are shown in base64 where JSON shows them."""
    assert empty("emit", "note", body, "--codec", codec).code == 0
    [entry] = entries(empty, "note")
    assert (entry["content_type"], entry["payload"]) == (content_type, payload)


@pytest.mark.covers("EMIT-2")
def test_lines_are_emitted_in_order_and_counted(shop: Project) -> None:
    """More than one chunk of input; blank lines are none; the summary says how many and how fast."""
    lines = "".join(f"{order(str(number))}\n\n" for number in range(20_000))
    ending = shop("emit", "order.placed", "-", stdin=lines)
    assert ending.code == 0
    assert ending.out.startswith("Emitted 20,000 order.placed in ")
    assert [entry["key"] for entry in entries(shop)] == [str(number) for number in range(20_000)]


@pytest.mark.covers("EMIT-2")
def test_a_bad_line_stops_after_those_before_it(shop: Project) -> None:
    """It is named by its number; what came before it is written, what comes after is not."""
    ending = shop("emit", "order.placed", "-", stdin=f"{order('1')}\n\n{order('2')}\nbad\n{order('3')}\n")
    assert ending.code == 3
    assert "line 4: " in ending.err
    assert ending.out.startswith("Emitted 2 order.placed")
    assert [entry["key"] for entry in entries(shop)] == ["1", "2"]


def test_bad_lines_may_be_passed_over(shop: Project) -> None:
    """Each is named (the first twenty); the rest is written, and the exit code tells that not all was."""
    bad = "bad\n" * 30
    ending = shop("emit", "order.placed", "-", "--skip-bad", stdin=f"{order('1')}\n{bad}{order('2')}")
    assert ending.code == 3
    assert "line 2: " in ending.err
    assert "line 21: " in ending.err
    assert "line 22: " not in ending.err
    assert "... and 10 more lines" in ending.err
    assert "passed over 30 bad lines" in ending.out
    assert [entry["key"] for entry in entries(shop)] == ["1", "2"]


@pytest.mark.covers("EMIT-2")
def test_a_line_too_large_is_a_bad_line_and_fills_no_memory(shop: Project) -> None:
    """A body over the limit, and a line without end: both are named, the others are written."""
    shop.patch.setenv("PENSTOCK_MAX_BODY", "1000")
    large = json.dumps({"order_id": "x" * 2000})
    endless = "y" * 3_000_000
    ending = shop(
        *("emit", "order.placed", "-", "--skip-bad", "--json"),
        stdin=f"{order('1')}\n{large}\n{endless}\n{order('2')}\n",
    )
    document = ending.document
    assert (ending.code, document["written"], document["bad"]) == (3, 2, 2)
    assert [each["line"] for each in document["problems"]] == [3, 2] or [2, 3]
    assert "more than the 1,000 allowed" in ending.out
    assert "too long" in ending.out
    assert [entry["key"] for entry in entries(shop)] == ["1", "2"]


def test_text_lines_need_not_be_json(empty: Project) -> None:
    """With a codec of text each line is a body."""
    assert empty("emit", "note", "-", "--codec", "text", stdin="one\n{two\nthree").code == 0
    assert [entry["payload"] for entry in entries(empty, "note")] == ["one", "{two", "three"]


def test_input_that_is_empty_is_no_error(empty: Project) -> None:
    """Nothing in, nothing out."""
    ending = empty("emit", "note", "-", stdin="")
    assert (ending.code, ending.out.split()[:3]) == (0, ["Emitted", "0", "note"])


@pytest.mark.covers("CONF-4")
def test_strict_mode_refuses_a_stream_that_nobody_declared(empty: Project) -> None:
    """The nearest declared one is proposed, and nothing is written."""
    empty.write("penstock.toml", 'strict = true\n[stream."order.placed"]\n')
    error = empty("emit", "oder.placed", "{}", "--json").error
    assert (error["type"], error["did_you_mean"]) == ("UnregisteredStreamError", ["order.placed"])
    assert empty("streams", "show", "oder.placed").code == 1


@pytest.mark.covers("EMIT-1")
def test_a_server_that_dies_in_the_middle_is_accounted_for(bare: Project) -> None:
    """Lines that were written, and lines of which nobody knows, are told apart; the exit code says partial."""
    reading, writing = os.pipe()
    running = bare.start("emit", "note", "-", "--json", stdin=reading)
    os.close(reading)
    os.write(writing, b"1\n2\n")
    running.wait_until("two are written", lambda: bare_length(bare) == 2)
    kill_server(bare, running)
    with os.fdopen(writing, "w") as lines:
        lines.write("3\n4\n")
    ending = running.end()
    assert ending.code == 3, ending
    assert ending.document["written"] == 2
    assert ending.document["bad"] + ending.document["unknown"] == 2
    assert ending.document["stopped"]


def bare_length(project: Project) -> int:
    """How many notes there are."""
    items = project("streams", "list", "--json").document["items"]
    return sum(item["length"] for item in items)


def kill_server(project: Project, running: Running) -> None:
    """kill -9 the embedded server, and keep another from being started in its place."""
    status = project("server", "status", "--json").document
    assert find_binary().path.exists()
    os.kill(status["pid"], 9)
    running.wait_until("it is gone", lambda: not Path(f"/proc/{status['pid']}").exists())
