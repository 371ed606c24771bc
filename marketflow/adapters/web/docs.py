"""`/openapi.json`, the page that shows it, and the files that page needs."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from marketflow.adapters.web.etag import tagged
from marketflow.adapters.web.failures import Refused
from marketflow.adapters.web.http1 import Request
from marketflow.adapters.web.response import Response

_FOLDER = Path(__file__).parent / "static"
_PAGE = "docs.html"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# a page shows names that others chose: nothing but our own files may run in it
_HARDENED = (
    ("Content-Security-Policy", "default-src 'self'"),
    ("X-Content-Type-Options", "nosniff"),
)


class DocsApi:
    """Answers with files, which do not change while the service runs."""

    def __init__(self, openapi: bytes, files: Mapping[str, bytes]) -> None:
        self._openapi = tagged(Response(200, openapi))
        self._page = _answer(files[_PAGE], "text/html; charset=utf-8")
        self._files = {
            name: _answer(content, _TYPES[suffix])
            for name, content in files.items()
            if (suffix := PurePosixPath(name).suffix) in _TYPES
        }

    def openapi(self, _: Request) -> Response:
        """Answer `GET /openapi.json`."""
        return self._openapi

    def page(self, _: Request) -> Response:
        """Answer `GET /docs`."""
        return self._page

    def file(self, _: Request, name: str) -> Response:
        """Answer `GET /static/{file}`."""
        found = self._files.get(name)
        if found is None:
            raise Refused(404, "no such file")
        return found


def static_files() -> dict[str, bytes]:
    """Return the files of our pages by their names.

    Raises:
        OSError: they cannot be read.
    """
    return {path.name: path.read_bytes() for path in _FOLDER.iterdir() if path.is_file()}


def _answer(content: bytes, content_type: str) -> Response:
    return tagged(Response(200, content, content_type, _HARDENED))
