-- The table of marketflow in PostgreSQL; safe to run twice.
-- One row per mode, exchange, pair and minute; times are UTC, "timestamp" is the minute's end.

CREATE TABLE IF NOT EXISTS market_data (
    pair_name     text             NOT NULL,
    exchange      text             NOT NULL,
    timestamp     timestamptz      NOT NULL,
    average_price double precision NOT NULL,  -- over the minute's ticks
    min_price     double precision NOT NULL,
    max_price     double precision NOT NULL,
    open_price    double precision NOT NULL,  -- first and last by the exchange's time
    close_price   double precision NOT NULL,
    open_at       timestamptz      NOT NULL,
    close_at      timestamptz      NOT NULL,
    min_at        timestamptz      NOT NULL,
    max_at        timestamptz      NOT NULL,
    tick_count    bigint           NOT NULL,
    mode          text             NOT NULL,
    CONSTRAINT market_data_pkey PRIMARY KEY (mode, exchange, pair_name, timestamp),
    CONSTRAINT market_data_mode CHECK (mode IN ('live', 'test')),
    CONSTRAINT market_data_ticks CHECK (tick_count > 0),
    -- PostgreSQL holds NaN to be above infinity, so this refuses both
    CONSTRAINT market_data_range CHECK (min_price > 0 AND max_price < 'infinity'),
    CONSTRAINT market_data_average CHECK (average_price BETWEEN min_price AND max_price),
    CONSTRAINT market_data_open CHECK (open_price BETWEEN min_price AND max_price),
    CONSTRAINT market_data_close CHECK (close_price BETWEEN min_price AND max_price)
);

-- a pair's rows over a time range, of all exchanges
CREATE INDEX IF NOT EXISTS market_data_by_pair
    ON market_data (mode, pair_name, timestamp, exchange);
