"""The quotes of test mode: told at once, at the clock's time."""

from threading import get_ident
from time import monotonic

from fakeexchange.quotes import quote
from marketflow.adapters.exchange.generated_quotes import GeneratedQuotes
from marketflow.application.asset_ports import QuoteSource
from marketflow.application.ports import Instant
from marketflow.domain.asset import Quote
from marketflow.domain.errors import NotAsked

NOW_MS = 1_795_248_049_047


class StoppedClock:
    """Always tells the same moment."""

    def now(self):
        return Instant(1_000, NOW_MS)

    def follow(self):
        return 0


def source(name="exchange1", seed=1) -> GeneratedQuotes:
    return GeneratedQuotes(name, clock=StoppedClock(), seed=seed)


def told(quotes, asset="btcusdt"):
    answers = []
    quotes.ask(asset, monotonic() + 2.0, lambda answer: answers.append((answer, get_ident())))
    ((answer, thread),) = answers
    assert thread == get_ident()
    return answer


def test_it_is_a_quote_source_that_tells_the_exchanges_quote_of_now_at_once():
    quotes: QuoteSource = source("exchange2", seed=5)
    made = quote(2, "btcusdt", NOW_MS / 1000, 5)
    assert told(quotes) == Quote("exchange2", made.price, made.volume, NOW_MS)
    assert quotes.exchange == "exchange2"


def test_every_asset_is_listed():
    for asset in ("btcusdt", "symbol10000", "a", "0" * 32):
        answer = told(source(), asset)
        assert answer.price > 0
        assert answer.volume > 0


def test_exchanges_quote_around_one_price_whatever_their_names_and_seeds():
    names = ("exchange1", "exchange2", "exchange3", "kraken")
    prices = [told(source(name, seed)).price for seed, name in enumerate(names)]
    assert len(set(prices)) == 4
    assert max(prices) / min(prices) < 1.0015


def test_another_name_has_quotes_of_its_own_and_keeps_them():
    assert told(source("Binance")).price == told(source("BINANCE")).price
    assert told(source("binance")).price != told(source("kraken")).price


def test_once_closed_it_tells_that_it_was_not_asked():
    quotes = source()
    quotes.close()
    quotes.close()
    answer = told(quotes)
    assert isinstance(answer, NotAsked)
    assert str(answer) == "exchange1 is closed"
