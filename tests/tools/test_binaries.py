"""Finding and installing servers, with programs of paper on a PATH of our own."""

import pytest

from tools import binaries

POSTGRES = "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"
CHROMIUM = "Chromium 150.0.7871.124 built on Debian GNU/Linux 12 (bookworm)"
REDIS = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=ae4d7c97"
PROMETHEUS = "prometheus, version 2.42.0+ds (branch: debian/sid, revision: 2.42.0+ds-5+deb12u1)"
MISSING = (
    "PostgreSQL 15, Redis 6.2, Chromium 100 and Prometheus 2 or newer must be installed, "
    "there was no such {}: run `apt-get install {}`"
)


@pytest.fixture
def path(tmp_path, monkeypatch):
    """The only folder programs are looked for in."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(binaries, "POSTGRES_FOLDERS", f"{tmp_path}/postgresql/*/bin")
    monkeypatch.setattr(binaries, "_POLICY", tmp_path / "policy-rc.d")
    monkeypatch.setattr("sys.argv", ["servers"])
    return folder


def program(folder, name, answer):
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\necho '{answer}'\n")
    file.chmod(0o755)
    return file


def be(monkeypatch, user):
    monkeypatch.setattr("os.geteuid", lambda: user)


def apt_get(path, folder):
    """Make an apt-get that notes what it is told, and installs everything."""
    source = program(folder / "packages", "postgres", POSTGRES)
    program(folder / "packages", "redis-server", REDIS)
    program(folder / "packages", "chromium", CHROMIUM)
    program(folder / "packages", "prometheus", PROMETHEUS)
    file = program(path, "apt-get", "")
    file.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> {folder}/told\n'
        f"[ -x {folder}/policy-rc.d ] && {folder}/policy-rc.d; echo $? >> {folder}/policy-said\n"
        f'[ "$1" = install ] && /bin/cp {source.parent}/* {path}\n'
    )
    return file


def test_what_is_in_path_comes_first_and_the_newest_postgres_next(path, tmp_path):
    program(tmp_path / "postgresql/9/bin", "postgres", POSTGRES.replace("15.18", "9.6"))
    program(tmp_path / "postgresql/16/bin", "postgres", POSTGRES.replace("15.18", "16.1"))
    newest = program(tmp_path / "postgresql/17/bin", "postgres", POSTGRES.replace("15.18", "17"))
    assert binaries.find_binary("postgres") == str(newest)
    in_path = program(path, "postgres", POSTGRES)
    assert binaries.find_binary("postgres") == str(in_path)


def test_what_is_too_old_is_passed_over(path, tmp_path):
    program(path, "postgres", POSTGRES.replace("15.18", "14.9"))
    with pytest.raises(FileNotFoundError, match=r"15 or newer, was 14\.9: install"):
        binaries.find_binary("postgres")
    newer = program(tmp_path / "postgresql/15/bin", "postgres", POSTGRES)
    assert binaries.find_binary("postgres") == str(newer)


@pytest.mark.parametrize(
    ("redis", "enough"), [("6.2.0", True), ("10.0", True), ("6.0.16", False), ("?", False)]
)
def test_redis_must_be_able_to_trim_by_id(path, redis, enough):
    program(path, "postgres", POSTGRES)
    program(path, "redis-server", REDIS.replace("7.0.15", redis))
    sentence = (
        "PostgreSQL 15 and Redis 6.2 or newer must be installed, "
        "there was no such redis-server: run `apt-get install redis-server`"
    )
    assert binaries.complaint() == (None if enough else sentence)


@pytest.mark.parametrize(
    ("name", "version", "enough"),
    [
        ("chromium", CHROMIUM, True),
        ("chromium-browser", "Chromium 139.0.7258.66 snap", True),
        ("google-chrome", "Google Chrome 139.0.7258.66", True),
        ("chromium", "Chromium 90.0.4430.212", False),
    ],
)
def test_a_browser_has_several_names(path, monkeypatch, capsys, name, version, enough):
    be(monkeypatch, 1000)
    program(path, "postgres", POSTGRES)
    program(path, "redis-server", REDIS)
    program(path, "prometheus", PROMETHEUS)
    program(path, name, version)
    assert binaries.main() == (0 if enough else 1)
    sentence = f"marketflow: {MISSING.format('chromium', 'chromium')}\n"
    assert capsys.readouterr().err == ("" if enough else sentence)


def test_one_sentence_says_what_to_install(path, monkeypatch, capsys):
    be(monkeypatch, 1000)
    program(path, "apt-get", "")
    assert binaries.main() == 1
    sentence = MISSING.format(
        "postgres and no redis-server and no chromium and no prometheus",
        "postgresql redis-server chromium prometheus",
    )
    assert capsys.readouterr().err == f"marketflow: {sentence}\n"


def test_root_without_apt_get_reads_the_same_sentence(path, monkeypatch, capsys):
    be(monkeypatch, 0)
    assert binaries.main() == 1
    assert "apt-get install postgresql redis-server" in capsys.readouterr().err


def test_nothing_is_installed_when_all_is_there(path, tmp_path, monkeypatch):
    be(monkeypatch, 0)
    apt_get(path, tmp_path)
    program(path, "postgres", POSTGRES)
    program(path, "redis-server", REDIS)
    program(path, "chromium", CHROMIUM)
    program(path, "prometheus", PROMETHEUS)
    assert binaries.main() == 0
    assert not (tmp_path / "told").exists()


def test_root_installs_what_is_missing_and_no_service_is_started_meanwhile(
    path, tmp_path, monkeypatch
):
    be(monkeypatch, 0)
    apt_get(path, tmp_path)
    assert binaries.main() == 0
    assert (tmp_path / "told").read_text().splitlines() == [
        "update",
        "install -y --no-install-recommends postgresql",
        "install -y --no-install-recommends redis-server",
        "install -y --no-install-recommends chromium",
        "install -y --no-install-recommends prometheus",
    ]
    assert (tmp_path / "policy-said").read_text().split() == ["101"] * 5
    assert not (tmp_path / "policy-rc.d").exists()


def test_the_policy_of_an_administrator_stays(path, tmp_path, monkeypatch):
    be(monkeypatch, 0)
    apt_get(path, tmp_path)
    policy = program(tmp_path, "policy-rc.d", "")
    before = policy.read_text()
    assert binaries.main() == 0
    assert policy.read_text() == before


def test_an_installation_that_fails_ends_with_the_sentence(path, monkeypatch, capsys):
    be(monkeypatch, 0)
    program(path, "apt-get", "").write_text("#!/bin/sh\nexit 100\n")
    assert binaries.main() == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("marketflow: PostgreSQL 15, ")
