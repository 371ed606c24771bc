import os
import socket

import pytest

from tests.servers import PostgresServer, RedisServer, find_binary


def redis_answer(server, *commands):
    with socket.create_connection((server.host, server.port), timeout=0.3) as connection:
        for command in commands:
            connection.sendall(command + b"\r\n")
            answer = connection.recv(1000)
        return answer


def test_a_program_that_is_not_installed_fails_with_what_to_install():
    with pytest.raises(FileNotFoundError, match=r"^mongod must be in PATH or /usr.*apt-get"):
        find_binary("mongod")


def test_redis_can_be_frozen_killed_and_started_again_empty():
    with RedisServer() as server:
        assert redis_answer(server, b"SET a 1") == b"+OK\r\n"
        server.pause()
        with pytest.raises(TimeoutError):
            redis_answer(server, b"GET a")
        server.resume()
        assert redis_answer(server, b"GET a") == b"$1\r\n1\r\n"
        server.kill()
        with pytest.raises(ConnectionRefusedError):
            redis_answer(server, b"GET a")
        server.start()
        assert redis_answer(server, b"GET a") == b"$-1\r\n"
    assert not server.directory.exists()


def test_redis_asks_for_a_password():
    with RedisServer(password="secret") as server:
        assert redis_answer(server, b"GET a").startswith(b"-NOAUTH")
        assert redis_answer(server, b"AUTH secret", b"GET a") == b"$-1\r\n"
        server.restart()
        assert redis_answer(server, b"GET a").startswith(b"-NOAUTH")


def test_postgres_keeps_its_rows_through_a_kill_and_leaves_nothing_behind():
    with PostgresServer(password="secret") as server:
        server.sql("CREATE TABLE kept AS SELECT 1")
        server.sql("CHECKPOINT")
        server.kill()
        assert not server.is_running()
        server.start()
        server.pause()
        server.restart()
        assert server.sql("SELECT * FROM kept") == [(1,)]
        process = server._process.pid
    assert not server.directory.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
