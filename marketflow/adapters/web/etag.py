"""Entity tags, made of what they stand for."""

from hashlib import blake2b

from marketflow.adapters.web.response import Response

_BYTES = 12
# the same address answers for the mode of the moment: kept by clients, but asked about
_CACHE_CONTROL = ("Cache-Control", "no-cache")


def etag(body: bytes) -> str:
    """Return a strong tag; who encodes *body* appends to it: `"tag"` becomes `"tag-gzip"`."""
    return f'"{blake2b(body, digest_size=_BYTES).hexdigest()}"'


def tagged(response: Response) -> Response:
    """Return *response* with its tag, for clients that keep answers and ask whether they hold."""
    headers = (*response.headers, ("ETag", etag(response.body)), _CACHE_CONTROL)
    return response._replace(headers=headers)
