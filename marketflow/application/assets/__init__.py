"""Aggregated asset prices: exchanges are asked, their quotes averaged, cached and kept for good."""
