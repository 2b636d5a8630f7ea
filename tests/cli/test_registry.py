"""Streams that are declared, and those that are only typed: lists, hints, refusals, other systems' entries."""

import json

import pytest

from tests.cli.conftest import Project

REGISTRY = """\
default:
    streams:
        stream-a:
          - read-group-a
far:
    redis: 127.0.0.1:1:0
    streams:
        stream-a:
          - read-group-b
        stream-c: []
strict: true
"""


@pytest.mark.covers("CONF-4")
def test_a_new_stream_that_looks_like_an_old_one_is_pointed_out(empty: Project) -> None:
    """In open mode it is made all the same, and the nearest one is named; a name like no other is no surprise."""
    assert empty("emit", "order.placed", "{}").err == ""
    typo = empty("emit", "order.placd", "{}")
    assert (typo.code, typo.err.strip()) == (0, "stream 'order.placd' is new; did you mean 'order.placed'?")
    assert empty("emit", "order.placd", "{}").err == ""
    lines = empty("emit", "ordr.placed", "-", stdin="{}\n{}\n")
    assert lines.err.strip().splitlines()[0] == "stream 'ordr.placed' is new; did you mean 'order.placed'?"
    elsewhere = empty("emit", "order.placed", "{}", "--stream", "order.plcaed")
    assert "stream 'order.plcaed' is new" in elsewhere.err
    quiet = empty("emit", "order.paced", "{}", "--json")
    assert (quiet.err, quiet.document["stream"]) == ("", "order.paced")


@pytest.mark.covers("CONF-3", "CONF-4")
def test_a_registered_stream_is_listed_before_it_exists_and_is_not_new(empty: Project) -> None:
    """With its registered groups; emitting to it is no surprise, however much it looks like another one."""
    empty.write("penstock.toml", '[stream."order.placed"]\ngroups = ["billing"]\n[stream."order.paced"]\n')
    shown = empty("streams", "list", "--json").document["items"]
    assert {each["name"]: each["length"] for each in shown} == {"order.paced": 0, "order.placed": 0}
    groups = empty("groups", "list", "--json").document["items"]
    assert [(each["stream"], each["name"]) for each in groups] == [("order.placed", "billing")]
    assert empty("emit", "order.paced", "{}").err == ""


@pytest.mark.covers("CONF-3")
def test_a_registry_that_cannot_work_is_refused_whole_by_every_command(empty: Project) -> None:
    """All of it at once, in one document; nothing is connected to."""
    empty.write("penstock.yaml", REGISTRY)
    for command in (["config", "check"], ["streams", "list"], ["emit", "stream-a", "{}"]):
        error = empty(*command, "--json").error
        assert error["type"] == "InvalidSettingsError"
        text = json.dumps(error)
        for said in (
            "is declared in more than one pool",
            "stream-c: the list is empty",
            "penstock.yaml, line 10 (far.streams.stream-c)",
        ):
            assert said in text


@pytest.mark.covers("MSG-11")
def test_entries_of_another_system_are_shown_as_messages(empty: Project) -> None:
    """Settings alone say how a stream is laid out: tools need not load the app's code."""
    empty.write("penstock.toml", '[stream."order.placed"]\nlayout = "laravel-streamer"\n')
    assert empty("emit", "order.placed", '{"order_id": "1"}', "--kind", "command").code == 0
    [entry] = empty("streams", "tail", "order.placed", "--no-follow", "--json").lines
    assert (entry["name"], entry["kind"], entry["payload"]) == ("order.placed", "command", {"order_id": "1"})
    refused = empty("emit", "order.placed", "5")
    assert refused.code == 1
    assert "laravel-streamer reads objects and lists alone" in refused.err
