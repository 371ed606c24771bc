"""The command line, as a person meets it."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from marketflow import __version__, cli
from marketflow.config import Config

ROOT = Path(__file__).resolve().parents[1]
SECRET = "hunter2-hunter2"
USAGE = """\
Usage:
  marketflow [--port <N>]
  marketflow --help

Options:
  --port N     Port number
"""


def marketflow(*arguments, cwd=ROOT, **environ):
    return subprocess.run(
        [sys.executable, str(ROOT / "marketflow.py"), *arguments],
        cwd=cwd,
        env=environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.fixture
def app(monkeypatch):
    """Stand in for the service: remember with what it was run, return 0."""
    module = ModuleType("marketflow.app")
    module.runs = []

    def run(config, warnings):
        module.runs.append((config, warnings))
        return 0

    module.run = run
    monkeypatch.setitem(sys.modules, "marketflow.app", module)
    monkeypatch.setattr(cli.logfmt, "configure", lambda level, layout: None)
    for name in [name for name in cli.os.environ if name.startswith("MARKETFLOW_")]:
        monkeypatch.delenv(name)
    return module


@pytest.mark.parametrize(
    ("setting", "value", "package", "file"),
    [
        ("STORAGE_BACKEND", "postgres", "psycopg2", "requirements.txt"),
        ("CACHE_BACKEND", "redis", "redis", "requirements.txt"),
        ("ASSETS_HISTORY", "dynamodb", "boto3", "requirements-dynamodb.txt"),
    ],
)
def test_a_missing_package_is_told_with_the_file_that_lists_it(
    setting, value, package, file, tmp_path
):
    done = subprocess.run(
        [sys.executable, "-S", str(ROOT / "marketflow.py"), "--data-dir", str(tmp_path)],
        env={f"MARKETFLOW_{setting}": value},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    sentence = f"marketflow: {package} is not installed: pip install -r {file}\n"
    assert (done.returncode, done.stderr) == (1, sentence)


def test_help_begins_with_the_text_of_the_brief():
    done = marketflow("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(USAGE)


def test_help_names_every_option():
    for option in ("--port", "--host", "--config", "--mode", "--data-dir", "--log-level",
                   "--log-format", "--check-config", "--version"):  # fmt: skip
        assert f"\n  {option}" in cli.HELP


def test_version_and_module_start():
    done = subprocess.run(
        [sys.executable, "-m", "marketflow", "--version"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"marketflow {__version__}\n")
    assert marketflow("--version").stdout == done.stdout


def test_help_and_version_import_neither_the_service_nor_its_servers():
    code = (
        "import sys; from marketflow.cli import main; main(['--version']);"
        "sys.exit(bool({'marketflow.app', 'sqlite3', 'http.server'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=30, check=False)
    assert done.returncode == 0


PORT = "--port must be a whole number from 1 to 65535"
WRONG = [
    (["--port", "abc"], f"{PORT}, was 'abc'"),
    (["--port=abc"], f"{PORT}, was 'abc'"),
    (["--port", "0"], f"{PORT}, was 0"),
    (["--port", "65536"], f"{PORT}, was 65536"),
    (["--port", "-1"], f"{PORT}, was -1"),
    (["--port", "8080.0"], f"{PORT}, was 8080.0"),
    (["--port", "\u0668\u0660"], f"{PORT}, was '\u0668\u0660'"),
    (["--port", "1\n2"], rf"{PORT}, was '1\n2'"),
    (["--port"], "--port needs a value"),
    (["--port="], "--port needs a value"),
    (["--port", ""], "--port needs a value"),
    (["--port", "--host"], "--port needs a value"),
    (["--port", "1", "--port", "1"], "--port must be given once"),
    (["--por", "1"], "unknown option '--por'"),
    (["-p", "1"], "unknown option '-p'"),
    (["--"], "unknown option '--'"),
    (["8080"], "unknown argument '8080'"),
    ([""], "unknown argument ''"),
    (["--help=yes"], "--help takes no value"),
    (["--help", "--help"], "--help must be given once"),
    (["--help", "more"], "unknown argument 'more'"),
    ([f"--admin-token={SECRET}"], "unknown option '--admin-token'"),
    (["--mode", "paper"], "--mode must be one of live, test, was 'paper'"),
    (["--host", "a b"], "--host must be a host name or an IP address, was 'a b'"),
    (["--log-level", "loud"], "--log-level must be one of debug, info, warning, error, was 'loud'"),
    (["--log-format", "xml"], "--log-format must be one of text, json, was 'xml'"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[" ".join(row[0]) for row in WRONG])
def test_wrong_usage_is_one_line_and_status_2(app, capsys, arguments, message):
    assert cli.main(arguments) == 2
    assert capsys.readouterr() == ("", f"marketflow: {message}; try --help\n")
    assert app.runs == []


def test_the_process_ends_with_the_same_status_and_line():
    done = marketflow("--port", "abc")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"marketflow: {PORT}, was 'abc'; try --help\n"


def test_options_reach_the_service(app, tmp_path):
    arguments = ["--port=9090", "--host", "0.0.0.0", "--mode", "live", "--data-dir", "/d"]
    assert cli.main([*arguments, "--log-level", "DEBUG", "--log-format=json"]) == 0
    [(config, warnings)] = app.runs
    assert (config.http.port, config.http.host, str(config.mode)) == (9090, "0.0.0.0", "live")
    assert (config.data_dir, config.log.level, config.log.format) == (Path("/d"), "debug", "json")
    assert warnings == []


def test_the_status_of_the_service_is_the_status_of_the_process(app, monkeypatch):
    monkeypatch.setattr(app, "run", lambda config, warnings: 1)
    assert cli.main([]) == 1


def test_a_missing_file_is_an_error_if_named_and_none_if_not(app, monkeypatch, capsys, tmp_path):
    assert cli.main(["--config", "/no/where.json"]) == 2
    assert capsys.readouterr().err == (
        "marketflow: /no/where.json cannot be read: No such file or directory\n"
    )
    monkeypatch.setattr(cli, "__file__", str(tmp_path / "marketflow" / "cli.py"))
    assert cli.main([]) == 0
    assert app.runs == [(Config(), [])]


def test_the_file_beside_marketflow_py_is_read_by_default(app, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(cli, "__file__", str(tmp_path / "marketflow" / "cli.py"))
    (tmp_path / "config.json").write_text('{"http": {"prot": 1}}')
    assert cli.main([]) == 2
    assert capsys.readouterr().err.startswith(
        f"marketflow: {tmp_path}/config.json: http.prot is no setting, must be one of host, port,"
    )
    monkeypatch.chdir(tmp_path)
    assert cli.main([]) == 2
    assert capsys.readouterr().err.startswith("marketflow: config.json: http.prot is no setting")


def test_check_config_prints_what_is_in_effect(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text('{"window": {"span": "90s"}, "http": {"port": 1111}}')
    done = marketflow(
        "--config",
        "mine.json",
        "--mode=live",
        "--check-config",
        cwd=tmp_path,
        MARKETFLOW_HTTP_PORT="2222",
        MARKETFLOW_HTTP_ADMIN_TOKEN=SECRET,
        MARKETFLOW_SERVICE_HOST="10.0.0.1",
    )
    shown = json.loads(done.stdout)
    assert (shown["mode"], shown["window"], shown["http"]["port"]) == (
        "live",
        {"span": "1m30s"},
        2222,
    )
    assert shown["http"]["admin_token"] == "***"
    assert done.stderr == (
        "marketflow: environment variable MARKETFLOW_SERVICE_HOST is no setting and was ignored\n"
    )
    assert done.returncode == 0
    assert SECRET not in done.stdout + done.stderr


def test_check_config_of_a_wrong_file_is_one_line_and_status_2(tmp_path):
    (tmp_path / "evil\nname.json").write_text('{"http": {"port": "abc"}}')
    done = marketflow("--config", "evil\nname.json", "--check-config", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        r"marketflow: evil\nname.json: http.port must be a whole number from 1 to 65535, was 'abc'"
        "\n"
    )


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (
            {"sources_http": {"live": [{"name": "far", "url": "http://far/ticker"}]}},
            "sources_http.live, far: url must hold one of {symbol}",
        ),
        ({"assets": {"symbols_file": "none.csv"}}, "assets.symbols_file: none.csv cannot be read"),
        (
            {"assets": {"symbols_file": "reserved.csv"}},
            "assets.symbols_file: reserved.csv line 2 must be none of the reserved words",
        ),
    ],
)
def test_check_config_refuses_what_a_start_would(tmp_path, settings, complaint):
    (tmp_path / "reserved.csv").write_text("btcusdt\nlatest\n")
    (tmp_path / "mine.json").write_text(json.dumps(settings))
    checked = marketflow("--config", "mine.json", "--check-config", cwd=tmp_path)
    started = marketflow("--config", "mine.json", cwd=tmp_path)
    for done in (checked, started):
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert done.stderr.startswith(f"marketflow: {complaint}")


def test_a_secret_in_the_environment_shows_in_no_complaint():
    done = marketflow("--check-config", MARKETFLOW_HTTP_ADMIN_TOKEN=f"{SECRET} {SECRET}")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert SECRET not in done.stdout + done.stderr


def test_standard_output_that_is_full_is_one_line_and_status_1():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, str(ROOT / "marketflow.py"), "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == (
        "marketflow: standard output cannot be written: No space left on device\n"
    )


def test_logging_is_set_up_as_configured_before_the_service_runs(app, monkeypatch):
    calls = []
    monkeypatch.setattr(cli.logfmt, "configure", lambda *given: calls.append(given))
    monkeypatch.setattr(app, "run", lambda config, warnings: len(calls))
    assert cli.main(["--log-level", "error"]) == 1
    assert calls == [("error", "text")]
    assert logging.getLogger("marketflow").handlers == []
