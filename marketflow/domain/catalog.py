"""The names the service answers for, matched without regard to case."""

from collections.abc import Iterable

from marketflow.domain.errors import UnknownExchange, UnknownSymbol


class Catalog:
    """Canonical pairs (upper case) and exchanges (as configured)."""

    def __init__(self, symbols: Iterable[str], exchanges: Iterable[str]) -> None:
        self.symbols = tuple(dict.fromkeys(symbol.upper() for symbol in symbols))
        self.exchanges = tuple(dict.fromkeys(exchanges))
        self._symbols = {symbol.casefold(): symbol for symbol in self.symbols}
        self._exchanges = {exchange.casefold(): exchange for exchange in self.exchanges}

    def symbol(self, name: str) -> str:
        """Return the canonical form of the pair *name*.

        Raises:
            UnknownSymbol: no such pair is configured.
        """
        found = self._symbols.get(name.casefold())
        if found is None:
            raise UnknownSymbol(name, self.symbols)
        return found

    def exchange(self, name: str) -> str:
        """Return the canonical form of the exchange *name*.

        Raises:
            UnknownExchange: no such exchange is configured in this mode.
        """
        found = self._exchanges.get(name.casefold())
        if found is None:
            raise UnknownExchange(name, self.exchanges)
        return found
