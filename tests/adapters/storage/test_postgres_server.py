import psycopg2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketflow.adapters.storage.postgres_server import PostgresServer, essence


def server(password="secret"):
    return PostgresServer(
        host="db",
        port=5432,
        user="marketflow",
        password=password,
        database="market",
        sslmode="prefer",
        connect_timeout_s=3.0,
        statement_timeout_s=3.0,
    )


REFUSED = """\
connection to server at "localhost" (::1), port 5432 failed: Connection refused
\tIs the server running on that host and accepting TCP/IP connections?
connection to server at "localhost" (127.0.0.1), port 5432 failed: FATAL:  sorry, too many clients\
 already
"""


@pytest.mark.parametrize(
    ("complaint", "reason"),
    [
        (REFUSED.partition('connection to server at "localhost" (127')[0], "connection refused"),
        (REFUSED, "sorry, too many clients already"),
        ("server closed the connection unexpectedly\n\tThis probably means\n",
         "server closed the connection unexpectedly"),
        ('could not translate host name "db" to address: Name or service not known\n',
         'could not translate host name "db" to address: Name or service not known'),
        ("SSL error: certificate verify failed", "SSL error: certificate verify failed"),
        ("ERROR:  boom\nDETAIL:  a row", "boom"),
        ("", "no reason given"),
        ("\n", "no reason given"),
    ],
)  # fmt: skip
def test_the_line_that_says_what_happened_is_told(complaint, reason):
    assert essence(complaint) == reason


def test_a_deadline_that_passed_is_told_with_its_length():
    assert str(server().no_answer(3)) == "postgres at db:5432: no answer within 3.0 s"


@given(
    password=st.text(st.characters(exclude_characters="*"), min_size=4),
    before=st.text(),
    after=st.text(),
)
def test_no_message_holds_the_password(password, before, after):
    quoted = password.replace("\\", "\\\\").replace("'", "\\'")
    for told in (password, f"password='{quoted}'"):
        error = psycopg2.OperationalError(f"{before}{told}{after}")
        failure = server(password).failure(error, lost=True, has_values=False)
        assert password not in str(failure).removeprefix("postgres at db:5432: ")


def test_no_line_of_the_password_is_told():
    reason = server("first\nsecond").reason_of(psycopg2.OperationalError("was first\nsecond!"))
    assert reason == "was ***!"


def test_a_password_that_is_a_common_word_is_hidden_wherever_it_stands():
    error = psycopg2.OperationalError("connection refused")
    assert server("refused").reason_of(error) == "connection ***"


def test_the_servers_description_holds_no_password():
    assert "secret" not in repr(server())
