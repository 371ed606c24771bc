"""The command line."""

import pytest

from fakeexchange.__main__ import exchange_numbers
from fakeexchange.options import HTTP_PORTS, PORTS, Options, parse


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as leaving:
        parse(arguments)
    assert leaving.value.code == 2
    return capsys.readouterr().err


def test_without_ports_the_original_ones_of_both_kinds():
    assert parse([]) == Options()
    for arguments in ([], ["--seed", "1"]):
        assert parse(arguments).ports == (40101, 40102, 40103)
        assert parse(arguments).http_ports == (8081, 8082, 8083)


@pytest.mark.parametrize(
    ("arguments", "ports", "http_ports"),
    [
        ("--port 5001", (5001,), ()),
        ("--http-port 5001 --http-port 8081", (), (5001, 8081)),
        ("--port 40101 --http-port 8081", (40101,), (8081,)),
    ],
)
def test_with_ports_only_those(arguments, ports, http_ports):
    options = parse(arguments.split())
    assert (options.ports, options.http_ports) == (ports, http_ports)


def test_everything_can_be_chosen():
    line = (
        "--port 5001 --port 5002 --http-port 5003 --host ::1 --rate 2.5 --seed 0"
        " --symbols btcusdt,XRPUSDT --faults drop,garbage,stale"
    )
    options = parse(line.split())
    assert options == Options(
        ports=(5001, 5002),
        http_ports=(5003,),
        host="::1",
        rate=2.5,
        seed=0,
        symbols=("BTCUSDT", "XRPUSDT"),
        faults=("drop", "garbage", "stale"),
    )


def test_help_begins_like_the_services(capsys):
    with pytest.raises(SystemExit) as leaving:
        parse(["--help"])
    assert leaving.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("Usage:\n  fakeexchange [--port <N>]")
    assert "\n\nOptions:\n  --port N " in text
    assert "\n  --http-port N " in text
    for option in ("host", "rate", "seed", "symbols", "replay", "speed", "faults"):
        assert f"\n  --{option} " in text


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("--port 0", "--port must be a whole number from 1 to 65535, was '0'"),
        ("--port 4_0", "--port must be a whole number from 1 to 65535, was '4_0'"),
        ("--port", "--port expected one argument"),
        ("--rate nan", "--rate must be a number from 0.1 to 1,000,000, was 'nan'"),
        ("--rate 0", "--rate must be a number from 0.1 to 1,000,000, was '0'"),
        ("--seed x", "--seed must be a whole number of up to 18 digits, was 'x'"),
        ("--symbols BTC,", "--symbols must be letters and digits, separated by commas, was 'BTC,'"),
        (
            "--faults fire",
            "--faults must be some of drop,stall,garbage,slow,error,stale, was 'fire'",
        ),
        ("--replay nowhere", "--replay cannot read nowhere: No such file or directory"),
        ("--speed 2", "--speed must come with --replay"),
        ("--http-port x", "--http-port must be a whole number from 1 to 65535, was 'x'"),
        ("--http-port 1 --http-port 1", "--http-port must be another one each time, was 1, 1"),
        ("--port 2 --http-port 2", "--http-port must be another one than --port, was 2"),
        ("--web-port 1", "unrecognized arguments: --web-port 1"),
        ("--port 1 --port 1", "--port must be another one each time, was 1, 1"),
    ],
)
def test_wrong_arguments_are_one_line(capsys, arguments, reason):
    assert refused(capsys, *arguments.split()) == f"fakeexchange: {reason}\n"


def test_a_recording_takes_no_generator_options(capsys, tmp_path):
    path = tmp_path / "recording.ndjson"
    path.write_text('{"timestamp":1}\n', encoding="ascii")
    assert parse(["--replay", str(path), "--speed", "10"]).speed == 10
    assert "--seed must not come with --replay" in refused(
        capsys, "--replay", str(path), "--seed", "0"
    )


def test_a_recording_needs_an_exchange_that_plays_it(capsys, tmp_path):
    path = tmp_path / "recording.ndjson"
    path.write_text('{"timestamp":1}\n', encoding="ascii")
    assert parse(["--replay", str(path)]).http_ports == HTTP_PORTS
    assert parse(["--replay", str(path), "--port", "1", "--http-port", "2"]).ports == (1,)
    assert "--replay must come with --port" in refused(
        capsys, "--replay", str(path), "--http-port", "2"
    )


def test_an_empty_recording_is_refused(capsys, tmp_path):
    path = tmp_path / "recording.ndjson"
    path.touch()
    assert "must hold lines" in refused(capsys, "--replay", str(path))


@pytest.mark.parametrize(
    ("ports", "numbers"),
    [
        (PORTS, [1, 2, 3]),
        ((40103,), [3]),
        ((5000, 5001, 5002, 5003), [1, 2, 3, 4]),
        ((5000, 40101, 5001), [2, 1, 3]),
        ((40103, 5000), [3, 1]),
    ],
)
def test_the_original_ports_keep_their_exchange_and_others_take_what_is_free(ports, numbers):
    assert list(exchange_numbers(ports, PORTS)) == list(zip(numbers, ports, strict=True))


def test_over_http_too():
    assert list(exchange_numbers((8083, 9000), HTTP_PORTS)) == [(3, 8083), (1, 9000)]
