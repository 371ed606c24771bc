"""Why a request was not accepted."""


class Refusal(Exception):
    """The request gets *status* with *detail*, then the connection is closed."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"{status}: {detail}")
        self.status = status
        self.detail = detail
