"""Short-lived copies of prices: in Redis, for other programs and for replicas."""
